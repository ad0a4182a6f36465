//! Plots as inline SVG: lines over a grid, colours left to the page's style sheet.
//!
//! ```text
//!   (LEFT, TOP) ┌──────────────────┐
//!     y ticks   │ lines s0, s1, …  │
//!               └──────────────────┘ (WIDTH - RIGHT, HEIGHT - BOTTOM)
//!                 x ticks
//! ```

use std::fmt::{self, Write as _};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 32.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;

/// How a value becomes a place on an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    Log,
}

/// One axis: its range, its ticks with their labels, its title.
#[derive(Debug)]
pub(super) struct Axis {
    pub(super) scale: Scale,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) ticks: Vec<(f64, String)>,
    pub(super) title: String,
}

impl Axis {
    /// The share of the way from `min` to `max`, 0 to 1.
    fn share(&self, value: f64) -> f64 {
        let (value, min, max) = match self.scale {
            Scale::Linear => (value, self.min, self.max),
            Scale::Log => (
                value.max(self.min).log10(),
                self.min.log10(),
                self.max.log10(),
            ),
        };
        ((value - min) / (max - min).max(1e-12)).clamp(0.0, 1.0)
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.share(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.share(value) * (HEIGHT - TOP - BOTTOM)
    }

    /// From zero to a round number above `max`, four or five ticks.
    pub(super) fn linear(max: f64, title: &str, label: impl Fn(f64) -> String) -> Self {
        let step = round_up(max.max(1e-9) / 4.0);
        let count = (max / step).ceil().max(1.0);
        let mut ticks = Vec::new();
        let mut at = 0.0;
        while at <= count + 0.5 && ticks.len() < 12 {
            ticks.push((at * step, label(at * step)));
            at += 1.0;
        }
        Self {
            scale: Scale::Linear,
            min: 0.0,
            max: count * step,
            ticks,
            title: title.into(),
        }
    }

    /// From a round number under `min` to one above `max`; ticks at 1, 2, 5 or at powers of
    /// ten when there are many.
    pub(super) fn log(min: f64, max: f64, title: &str, label: impl Fn(f64) -> String) -> Self {
        let (low, high) = (round_down(min.max(0.1)), round_up(max.max(0.2)));
        let is_wide = (high / low).log10() > 2.6;
        let mut ticks = Vec::new();
        let mut power = 10_f64.powf(low.log10().floor());
        while power <= high * 1.001 && ticks.len() < 40 {
            for lead in [1.0, 2.0, 5.0] {
                let tick = power * lead;
                if tick >= low * 0.999 && tick <= high * 1.001 && (!is_wide || lead < 1.5) {
                    ticks.push((tick, label(tick)));
                }
            }
            power *= 10.0;
        }
        Self {
            scale: Scale::Log,
            min: low,
            max: high.max(low * 2.0),
            ticks,
            title: title.into(),
        }
    }
}

/// The next of 1, 2, 5, 10 … at or above `value`.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let lead = value / power;
    let lead = [1.0, 2.0, 5.0].into_iter().find(|&r| lead <= r * 1.0001);
    lead.unwrap_or(10.0) * power
}

fn round_down(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let lead = value / power;
    let lead = [5.0, 2.0].into_iter().find(|&r| lead >= r * 0.9999);
    lead.unwrap_or(1.0) * power
}

/// One line; a missing value breaks it.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: String,
    /// Which of the page's series colours, 0 to 4.
    pub(super) colour: usize,
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// The plot; `title` is what a screen reader says.
pub(super) fn plot(title: &str, x: &Axis, y: &Axis, lines: &[Line]) -> Result<String, fmt::Error> {
    let mut out = String::new();
    write!(
        out,
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">"
    )?;
    grid(&mut out, x, y)?;
    for line in lines {
        draw(&mut out, x, y, line)?;
    }
    out.push_str("</svg>");
    let mut legend = String::from("<p class=\"legend\">");
    for line in lines {
        write!(
            legend,
            "<span><i class=\"k{}\"></i>{}</span>",
            line.colour, line.name
        )?;
    }
    legend.push_str("</p>");
    Ok(legend + &out)
}

fn grid(out: &mut String, x: &Axis, y: &Axis) -> fmt::Result {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for (value, label) in &y.ticks {
        let at = y.y(*value);
        write!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            LEFT - 8.0,
            at + 4.0
        )?;
    }
    for (value, label) in &x.ticks {
        let at = x.x(*value);
        write!(
            out,
            "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            bottom + 16.0
        )?;
    }
    write!(
        out,
        "<text class=\"axis\" x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
         <text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
        HEIGHT - 6.0,
        x.title,
        LEFT + 6.0,
        TOP + 12.0,
        y.title
    )
}

fn draw(out: &mut String, x: &Axis, y: &Axis, line: &Line) -> fmt::Result {
    write!(out, "<path class=\"line s{}\" d=\"", line.colour)?;
    let mut verb = 'M';
    for (at, value) in &line.points {
        match value {
            Some(value) => {
                write!(out, "{verb}{:.1} {:.1}", x.x(*at), y.y(*value))?;
                verb = 'L';
            }
            None => verb = 'M',
        }
    }
    out.push_str("\"/>");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: axes hold their data and have ticks in the range. Method: spans of many sizes.
    #[test]
    fn axes_hold_their_data() {
        for (min, max) in [
            (0.0, 0.0),
            (3.0, 7.0),
            (40.0, 90_000.0),
            (1e6, 1e6),
            (0.5, 1e9),
        ] {
            let axis = Axis::log(min, max, "", |v| v.to_string());
            assert!(
                axis.max >= max && axis.min <= min.max(0.1),
                "{min} {max} {axis:?}"
            );
            assert!((1..=40).contains(&axis.ticks.len()));
            let axis = Axis::linear(max, "", |v| v.to_string());
            assert!(axis.max >= max && axis.ticks.len() >= 2, "{max} {axis:?}");
            let inside = |tick: &(f64, String)| tick.0 <= axis.max * 1.001;
            assert!(axis.ticks.iter().all(inside), "{axis:?}");
        }
    }

    /// Goal: a gap in the data is a gap in the line.
    #[test]
    fn a_missing_value_breaks_the_line() {
        let axis = || Axis::linear(4.0, "", |v| v.to_string());
        let line = Line {
            name: "a".into(),
            colour: 0,
            points: vec![
                (0.0, Some(1.0)),
                (1.0, Some(1.0)),
                (2.0, None),
                (3.0, Some(1.0)),
            ],
        };
        let svg = plot("t", &axis(), &axis(), &[line]).unwrap();
        let path = svg.split("d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(path.matches('M').count(), 2);
        assert_eq!(path.matches('L').count(), 1);
    }
}
