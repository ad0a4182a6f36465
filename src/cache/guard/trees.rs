//! Gradient-boosted trees, read from a file that `scripts/guard/train.py` writes.
//!
//! ```text
//!  # comment
//!  trees 1 features=… base=-1.25 strict=0.95 balanced=0.87 sum=<sha-256 of the lines below>
//!  tree                       one more
//!  s 5 0.5 1 2                a split: feature 5 <= 0.5 ? node 1 : node 2
//!  l -0.125                   a leaf
//! ```
//!
//! Invariants
//! - I1 A walk ends: a split's children stand behind it, checked when the file is read.
//! - I2 A file that is damaged or was made for other features is refused whole: then nothing is
//!   ever the same.

use std::fmt;

/// The trained trees.
const TREES: &str = include_str!("data/trees.txt");

#[derive(Clone, Copy, Debug)]
struct Node {
    /// The threshold of a split, the value of a leaf.
    value: f32,
    feature: u16,
    /// The child when the feature is at most the threshold; 0 for a leaf.
    low: u16,
    high: u16,
}

/// Trees and where to cut their answer.
#[derive(Debug)]
pub(super) struct Trees {
    nodes: Vec<Node>,
    /// Where each tree begins.
    roots: Vec<u32>,
    base: f32,
    /// From here on the same, by operating point.
    pub(super) strict: f32,
    pub(super) balanced: f32,
    /// A number that stands for this file.
    pub(super) mark: u32,
}

/// Why a file of trees is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TreesFault {
    /// The line that opens it is missing or has other fields.
    Head,
    /// It was made for another list of features.
    Features,
    /// This line is no node.
    Line(usize),
    /// A split leads backwards or nowhere.
    Shape,
    /// The sum in the head is not that of the lines.
    Sum,
}

impl fmt::Display for TreesFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => f.write_str("the head is not understood"),
            Self::Features => f.write_str("made for other features"),
            Self::Line(at) => write!(f, "line {at} is no node"),
            Self::Shape => f.write_str("a split leads nowhere"),
            Self::Sum => f.write_str("the sum does not fit the lines"),
        }
    }
}

impl Trees {
    /// The trees that are compiled in.
    ///
    /// # Errors
    /// A [`TreesFault`], which a test rules out.
    pub(super) fn builtin(features: u32) -> Result<Self, TreesFault> {
        Self::read(TREES, features)
    }

    /// Reads a file of trees for the features whose list has the hash `features`.
    ///
    /// # Errors
    /// A [`TreesFault`].
    pub(super) fn read(text: &str, features: u32) -> Result<Self, TreesFault> {
        let start = text.find("trees ").ok_or(TreesFault::Head)?;
        let text = text.get(start..).ok_or(TreesFault::Head)?;
        let (head, body) = text.split_once('\n').ok_or(TreesFault::Head)?;
        let field = |name: &str| {
            let at = head
                .split(' ')
                .find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            at.ok_or(TreesFault::Head)
        };
        let number = |name| field(name)?.parse::<f32>().map_err(|_| TreesFault::Head);
        let hex = |name| u32::from_str_radix(field(name)?, 16).map_err(|_| TreesFault::Head);
        if hex("features")? != features {
            return Err(TreesFault::Features);
        }
        let mark = crc32fast::hash(body.as_bytes());
        if hex("sum")? != mark {
            return Err(TreesFault::Sum);
        }
        let mut trees = Self {
            nodes: Vec::new(),
            roots: Vec::new(),
            base: number("base")?,
            strict: number("strict")?,
            balanced: number("balanced")?,
            mark,
        };
        for (at, line) in body.lines().enumerate() {
            trees.line(line).ok_or(TreesFault::Line(at + 2))?;
        }
        if trees.is_sound() {
            Ok(trees)
        } else {
            Err(TreesFault::Shape)
        }
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        let node = match words.next()? {
            "tree" => {
                self.roots.push(u32::try_from(self.nodes.len()).ok()?);
                return Some(());
            }
            "s" => Node {
                feature: words.next()?.parse().ok()?,
                value: words.next()?.parse().ok()?,
                low: words.next()?.parse().ok()?,
                high: words.next()?.parse().ok()?,
            },
            "l" => Node {
                value: words.next()?.parse().ok()?,
                feature: 0,
                low: 0,
                high: 0,
            },
            _ => return None,
        };
        self.roots.last()?;
        self.nodes.push(node);
        Some(())
    }

    /// I1.
    fn is_sound(&self) -> bool {
        let ends = self.roots.iter().skip(1).map(|&root| root as usize);
        let ends = ends.chain([self.nodes.len()]);
        self.roots.iter().zip(ends).all(|(&root, end)| {
            let tree = self.nodes.get(root as usize..end).unwrap_or_default();
            !tree.is_empty()
                && tree.iter().enumerate().all(|(at, node)| {
                    let behind = |child: u16| usize::from(child) > at;
                    let inside = |child: u16| usize::from(child) < tree.len();
                    node.low == 0 && node.high == 0
                        || [node.low, node.high]
                            .into_iter()
                            .all(|c| behind(c) && inside(c))
                })
        })
    }

    /// The chance, 0 to 1, that the two prompts of these features have one answer.
    pub(super) fn chance(&self, features: &[f32]) -> f32 {
        let mut sum = self.base;
        for &root in &self.roots {
            let tree = self.nodes.get(root as usize..).unwrap_or_default();
            let mut at = 0;
            while let Some(node) = tree.get(at) {
                if node.low == 0 {
                    sum += node.value;
                    break;
                }
                let feature = features
                    .get(usize::from(node.feature))
                    .copied()
                    .unwrap_or(0.0);
                at = usize::from(if feature <= node.value {
                    node.low
                } else {
                    node.high
                });
            }
        }
        1.0 / (1.0 + (-sum).exp())
    }

    /// How many trees and nodes there are.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.roots.len(), self.nodes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(body: &str) -> String {
        let sum = crc32fast::hash(body.as_bytes());
        format!("trees 1 features=7 base=0 strict=0.9 balanced=0.8 sum={sum:x}\n{body}")
    }

    /// Goal: a split sends low features left, high ones right, and trees add up.
    #[test]
    fn trees_are_walked_and_added() {
        let text = file("tree\ns 1 0.5 1 2\nl -2\nl 2\ntree\nl 1\n");
        let trees = Trees::read(&text, 7).unwrap();
        let at = |feature| trees.chance(&[9.0, feature]);
        assert!((at(0.5) - 1.0 / (1.0 + 1f32.exp())).abs() < 1e-6);
        assert!((at(0.6) - 1.0 / (1.0 + (-3f32).exp())).abs() < 1e-6);
        assert_eq!(trees.size(), (2, 4));
    }

    /// Goal: I1, I2: each damage is refused with its name.
    #[test]
    fn damaged_trees_are_refused() {
        let refused = |text: &str| Trees::read(text, 7).err();
        assert_eq!(refused("nothing"), Some(TreesFault::Head));
        assert_eq!(refused("trees 1 features=x\n"), Some(TreesFault::Head));
        assert_eq!(
            Trees::read(&file("tree\nl 1\n"), 8).err(),
            Some(TreesFault::Features)
        );
        assert_eq!(refused(&file("l 1\n")), Some(TreesFault::Line(2)));
        assert_eq!(refused(&file("tree\nx 1\n")), Some(TreesFault::Line(3)));
        assert_eq!(
            refused(&file("tree\ns 0 1 0 1\nl 1\n")),
            Some(TreesFault::Shape)
        );
        assert_eq!(
            refused(&file("tree\ns 0 1 1 2\nl 1\n")),
            Some(TreesFault::Shape)
        );
        let damaged = file("tree\nl 1\n").replace("l 1", "l 2");
        assert_eq!(refused(&damaged), Some(TreesFault::Sum));
    }
}
