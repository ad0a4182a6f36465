//! Walks the document: tables by their known keys, values by their readers, faults by place.
//!
//! A [`Section`] is opened with the keys that it knows; what else stands in it is a fault
//! with the nearest known name. Reading a wrong value records the fault and gives `None`,
//! so that the reader goes on with a default and finds the next fault.

use super::fault::Findings;
use super::value::{Wrong, echo, kind_of};
use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

/// How unlike a known name an unknown one may be to be taken for a slip: a third of its
/// letters, and two at least.
fn is_near(distance: usize, name: &str) -> bool {
    distance <= (name.chars().count() / 3).max(2) && distance < name.chars().count()
}

/// The known name that is nearest to `name`, if it is near.
pub(super) fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    known
        .map(|k| (strsim::osa_distance(name, k), k))
        .filter(|(distance, _)| is_near(*distance, name))
        .min()
        .map(|(_, k)| k)
}

/// The names that a table may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// What this version reads.
    pub(super) now: &'static [&'static str],
    /// What the product will read, but this version does not.
    pub(super) later: &'static [&'static str],
}

/// A value with its key and its places.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item<'a, 'i> {
    pub(super) key: &'a str,
    pub(super) key_at: usize,
    pub(super) value: &'a DeValue<'i>,
    pub(super) at: usize,
}

impl<'a, 'i> Item<'a, 'i> {
    fn new(key: &'a Spanned<DeString<'i>>, value: &'a Spanned<DeValue<'i>>) -> Self {
        Self {
            key: key.get_ref(),
            key_at: key.span().start,
            value: value.get_ref(),
            at: value.span().start,
        }
    }

    /// The value by its reader.
    pub(super) fn read<T>(
        self,
        found: &mut Findings,
        reader: impl FnOnce(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Option<T> {
        reader(self.value)
            .map_err(|wrong| self.refuse(found, wrong))
            .ok()
    }

    /// Records that the value is wrong.
    pub(super) fn refuse(self, found: &mut Findings, wrong: Wrong) {
        let what = wrong
            .what
            .unwrap_or_else(|| format!("is {}", echo(self.value)));
        found.fault(self.at, format!("`{}` {what}; {}", self.key, wrong.right));
    }

    /// The elements of a list of at most `max`, each under the key of the list.
    pub(super) fn list(
        self,
        found: &mut Findings,
        max: usize,
        right: &str,
    ) -> impl Iterator<Item = Item<'a, 'i>> + use<'a, 'i> {
        let list: Option<&'a DeArray<'i>> = match self.value {
            DeValue::Array(list) if list.len() <= max => Some(list),
            DeValue::Array(list) => {
                let text = format!(
                    "`{}` has {} entries; write at most {max}",
                    self.key,
                    list.len()
                );
                found.fault(self.at, text);
                None
            }
            other => {
                let text = format!("`{}` is {}; {right}", self.key, echo(other));
                found.fault(self.at, text);
                None
            }
        };
        list.into_iter()
            .flat_map(|l| l.iter())
            .map(move |value| Item {
                key: self.key,
                key_at: value.span().start,
                value: value.get_ref(),
                at: value.span().start,
            })
    }

    /// The value as a table with the keys of `known`.
    pub(super) fn section(
        self,
        found: &mut Findings,
        title: &str,
        known: Known,
    ) -> Option<Section<'a, 'i>> {
        let section = Section::new(self.table(found, title)?, title, self.key_at);
        section.refuse_unknown(found, known);
        Some(section)
    }

    /// The value as a table of names that the operator makes up.
    pub(super) fn table(self, found: &mut Findings, title: &str) -> Option<&'a DeTable<'i>> {
        let DeValue::Table(table) = self.value else {
            let is = kind_of(self.value);
            found.fault(
                self.at,
                format!("`{}` is {is}; write a table, {title}", self.key),
            );
            return None;
        };
        Some(table)
    }
}

/// The entries of a table in the order of the file.
pub(super) fn entries<'a, 'i>(table: &'a DeTable<'i>) -> Vec<Item<'a, 'i>> {
    let mut items: Vec<_> = table.iter().map(|(k, v)| Item::new(k, v)).collect();
    items.sort_by_key(|item| item.key_at);
    items
}

/// A table with known keys.
#[derive(Debug)]
pub(super) struct Section<'a, 'i> {
    items: Vec<Item<'a, 'i>>,
    title: String,
    /// Where the section begins, for what is missing in it.
    pub(super) at: usize,
}

impl<'a, 'i> Section<'a, 'i> {
    /// The section `title` at `at`.
    pub(super) fn new(table: &'a DeTable<'i>, title: &str, at: usize) -> Self {
        Self {
            items: entries(table),
            title: title.to_owned(),
            at,
        }
    }

    /// Records every key that is not in `known.now`.
    pub(super) fn refuse_unknown(&self, found: &mut Findings, known: Known) {
        for item in &self.items {
            let Item { key, key_at, .. } = *item;
            if known.now.contains(&key) {
                continue;
            }
            let title = &self.title;
            if known.later.contains(&key) {
                let text =
                    format!("`{key}` in {title} is not available in this version; remove it");
                found.fault(key_at, text);
                continue;
            }
            let right = match nearest(key, known.now.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", known.now.join(", ")),
            };
            found.missing(key_at, format!("unknown key `{key}` in {title}; {right}"));
        }
    }

    /// Whether nothing stands in it.
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// What stands under `key`.
    pub(super) fn item(&self, key: &str) -> Option<Item<'a, 'i>> {
        self.items.iter().find(|item| item.key == key).copied()
    }

    /// The value under `key`; `None` when it is absent or wrong.
    pub(super) fn read<T>(
        &self,
        found: &mut Findings,
        key: &str,
        reader: impl FnOnce(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Option<T> {
        self.item(key)?.read(found, reader)
    }

    /// What stands under `key`, which must be there; `right` says how to write it.
    pub(super) fn need(
        &self,
        found: &mut Findings,
        key: &str,
        right: &str,
    ) -> Option<Item<'a, 'i>> {
        let item = self.item(key);
        if item.is_none() {
            found.missing(self.at, format!("{} has no `{key}`; {right}", self.title));
        }
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a slip finds its name, another word does not.
    #[test]
    fn the_nearest_name_is_near() {
        let known = ["connect", "idle", "total", "first_token"];
        let near = |name| nearest(name, known.into_iter());
        assert_eq!(near("conect"), Some("connect"));
        assert_eq!(near("first_tokne"), Some("first_token"));
        assert_eq!(near("firsttoken"), Some("first_token"));
        assert_eq!(near("idel"), Some("idle"));
        assert_eq!(near("banana"), None);
        assert_eq!(near("x"), None);
        assert_eq!(near(""), None);
    }
}
