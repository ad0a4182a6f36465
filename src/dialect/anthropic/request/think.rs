//! How a model is told to think.
//!
//! ```text
//!   asked            Budget (to 4.5)          Adaptive (from 4.6)         nobody knows
//!   effort e         enabled, budget of e     adaptive + effort e         adaptive + effort e
//!   budget n         enabled, n               adaptive + effort of n      enabled, n
//!   as it likes      enabled, 8192            adaptive                    adaptive
//!   not at all       (nothing)                disabled, else effort low   disabled
//! ```
//!
//! Source: mapping.md 6.1 and 6.2; protocols.md 6.1.

use super::fields::Field;
use crate::dialect::model::{
    Abilities, Dialect, Effort, Notes, Reasoning, Request, Thinking, Unfit,
};
use serde_json::{Map, Value, json};

/// The least budget that the provider takes, in tokens.
const BUDGET_MIN: u64 = 1024;

/// What the request says of thinking.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// The field `thinking`.
    pub(super) thinking: Option<Value>,
    /// `output_config.effort`.
    pub(super) effort: Option<&'static str>,
}

impl Plan {
    /// Whether thinking is switched on by name.
    pub(super) fn is_on(&self) -> bool {
        let kind = self.thinking.as_ref().and_then(|t| t.get("type")?.as_str());
        matches!(kind, Some("enabled" | "adaptive"))
    }
}

/// What else the request says that bears on thinking.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The limit on the answer, in tokens.
    pub(super) max_tokens: u64,
    /// A tool must be called: the provider refuses that together with thinking.
    pub(super) is_forced: bool,
    /// The model goes on with a turn that did not begin with thinking.
    pub(super) goes_on: bool,
}

/// What to tell a model of `abilities`.
pub(super) fn plan(
    request: &Request,
    abilities: &Abilities,
    bounds: Bounds,
    notes: &mut Notes,
) -> Result<Plan, Unfit> {
    let Some(asked) = &request.reasoning else {
        return Ok(Plan::default());
    };
    let ours = request.origin == Some(Dialect::Anthropic);
    let field = Field::Reasoning.name(request.origin);
    let is_off = asked.effort == Some(Effort::None) || asked.budget == Some(0);
    let plan = match abilities.thinking {
        Thinking::Never => {
            if !is_off && *asked != Reasoning::default() {
                notes.drop(field);
            }
            return Ok(Plan::default());
        }
        Thinking::Budget if is_off && !ours => Plan::default(),
        Thinking::Adaptive { can_rest: false } if is_off => {
            notes.drop(field);
            effort_only(Effort::Low)
        }
        _ if is_off => switched_off(),
        Thinking::Budget => by_budget(asked, ours, bounds),
        Thinking::Adaptive { .. } => adaptive(asked, ours, abilities.sampling),
        Thinking::Effort if asked.budget.is_some() => by_budget(asked, ours, bounds),
        Thinking::Effort => adaptive(asked, ours, false),
    };
    if abilities.thinking == Thinking::Budget && !is_off && plan == Plan::default() {
        let is_asked = asked.effort.is_some() || asked.budget.is_some() || asked.adaptive;
        if is_asked {
            notes.drop(field); // no room for a budget
        }
        return Ok(plan);
    }
    if ours || !plan.is_on() {
        return Ok(plan);
    }
    let has_budget = plan
        .thinking
        .as_ref()
        .is_some_and(|t| t.get("budget_tokens").is_some());
    if has_budget && (bounds.is_forced || bounds.goes_on) {
        notes.drop(field);
        return Ok(Plan::default());
    }
    if bounds.is_forced {
        if abilities.thinking == (Thinking::Adaptive { can_rest: false }) {
            return Err(Unfit::new(
                Field::ToolChoice.name(request.origin),
                "cannot force a call while this model thinks, and it always does",
            ));
        }
        notes.drop(field);
        return Ok(switched_off());
    }
    Ok(plan)
}

fn switched_off() -> Plan {
    Plan {
        thinking: Some(json!({"type": "disabled"})),
        effort: None,
    }
}

fn effort_only(effort: Effort) -> Plan {
    Plan {
        thinking: None,
        effort: Some(effort.name()),
    }
}

/// `enabled`, with a budget below the limit on the answer.
fn by_budget(asked: &Reasoning, ours: bool, bounds: Bounds) -> Plan {
    let effort = asked.effort.filter(|_| ours).map(Effort::name);
    let wanted = asked.budget.or_else(|| match asked.effort {
        Some(effort) if !ours => Some(effort.budget()),
        _ => asked.adaptive.then(|| Effort::Medium.budget()),
    });
    let Some(wanted) = wanted else {
        return Plan {
            thinking: None,
            effort,
        };
    };
    let budget = if ours {
        wanted
    } else if bounds.max_tokens > BUDGET_MIN {
        wanted.clamp(BUDGET_MIN, bounds.max_tokens - 1)
    } else {
        return Plan::default();
    };
    let mut thinking = Map::new();
    thinking.insert("type".into(), "enabled".into());
    thinking.insert("budget_tokens".into(), budget.into());
    if ours {
        show(&mut thinking, asked.visible);
    }
    Plan {
        thinking: Some(Value::Object(thinking)),
        effort,
    }
}

/// `adaptive`, with an effort. Only the first models of this form (4.6), which still take
/// sampling, know no `xhigh`.
fn adaptive(asked: &Reasoning, ours: bool, is_early: bool) -> Plan {
    let effort = asked.effort.or(asked.budget.map(Effort::of_budget));
    let effort = effort.map(|effort| match effort {
        Effort::None | Effort::Minimal => Effort::Low,
        Effort::XHigh if is_early => Effort::High,
        effort => effort,
    });
    if ours && !asked.adaptive && asked.budget.is_none() {
        return Plan {
            thinking: None,
            effort: effort.map(Effort::name),
        };
    }
    let mut thinking = Map::new();
    thinking.insert("type".into(), "adaptive".into());
    // Without `summarized` the text of the thoughts is blank.
    let visible = if ours {
        asked.visible
    } else {
        Some(asked.visible != Some(false))
    };
    show(&mut thinking, visible);
    Plan {
        thinking: Some(Value::Object(thinking)),
        effort: effort.map(Effort::name),
    }
}

fn show(thinking: &mut Map<String, Value>, visible: Option<bool>) {
    if let Some(visible) = visible {
        let display = if visible { "summarized" } else { "omitted" };
        thinking.insert("display".into(), display.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: Bounds = Bounds {
        max_tokens: 20_000,
        is_forced: false,
        goes_on: false,
    };

    fn told(asked: Reasoning, thinking: Thinking, bounds: Bounds) -> (Value, Vec<String>) {
        let request = Request {
            reasoning: Some(asked),
            origin: Some(Dialect::Chat),
            ..Request::default()
        };
        let abilities = Abilities {
            thinking,
            sampling: false,
            ..Abilities::default()
        };
        let mut notes = Notes::default();
        let plan = plan(&request, &abilities, bounds, &mut notes);
        let value = match plan {
            Ok(plan) => json!([plan.thinking, plan.effort]),
            Err(unfit) => json!(unfit.field),
        };
        let notes = notes.dropped().iter().map(ToString::to_string).collect();
        (value, notes)
    }

    fn effort(effort: Effort) -> Reasoning {
        Reasoning {
            effort: Some(effort),
            ..Reasoning::default()
        }
    }

    fn budget(budget: u64) -> Reasoning {
        Reasoning {
            budget: Some(budget),
            ..Reasoning::default()
        }
    }

    /// Goal: the table of the module's header, row by row.
    #[test]
    fn each_form_gets_what_it_takes() {
        const REST: Thinking = Thinking::Adaptive { can_rest: true };
        const NO_REST: Thinking = Thinking::Adaptive { can_rest: false };
        let on = |n: u64| json!([{"type": "enabled", "budget_tokens": n}, null]);
        let adaptive = |e| json!([{"type": "adaptive", "display": "summarized"}, e]);
        let off = json!([{"type": "disabled"}, null]);
        for (asked, form, want) in [
            (effort(Effort::High), Thinking::Budget, on(16_384)),
            (effort(Effort::Minimal), Thinking::Budget, on(1024)),
            (effort(Effort::Max), Thinking::Budget, on(19_999)),
            (budget(100), Thinking::Budget, on(1024)),
            (effort(Effort::None), Thinking::Budget, json!([null, null])),
            (effort(Effort::High), REST, adaptive("high")),
            (effort(Effort::XHigh), REST, adaptive("xhigh")),
            (effort(Effort::Minimal), REST, adaptive("low")),
            (budget(5000), REST, adaptive("medium")),
            (effort(Effort::None), REST, off.clone()),
            (budget(0), REST, off.clone()),
            (effort(Effort::None), NO_REST, json!([null, "low"])),
            (effort(Effort::Low), Thinking::Effort, adaptive("low")),
            (budget(2000), Thinking::Effort, on(2000)),
            (effort(Effort::None), Thinking::Effort, off),
            (effort(Effort::High), Thinking::Never, json!([null, null])),
        ] {
            let (got, notes) = told(asked.clone(), form, FREE);
            assert_eq!(got, want, "{asked:?} {form:?}");
            let is_told = form == Thinking::Never || (form == NO_REST && want[1] == "low");
            assert_eq!(!notes.is_empty(), is_told, "{asked:?} {form:?}");
        }
    }

    /// Goal: where thinking is not possible it is left out and said, or the tool choice is
    /// refused where thinking never rests.
    #[test]
    fn thinking_gives_way_to_a_forced_call() {
        let forced = Bounds {
            is_forced: true,
            ..FREE
        };
        let small = Bounds {
            max_tokens: 1024,
            ..FREE
        };
        let goes_on = Bounds {
            goes_on: true,
            ..FREE
        };
        let note = vec!["reasoning_effort".to_owned()];
        for (form, bounds, want) in [
            (Thinking::Budget, forced, json!([null, null])),
            (Thinking::Budget, small, json!([null, null])),
            (Thinking::Budget, goes_on, json!([null, null])),
            (
                Thinking::Adaptive { can_rest: true },
                forced,
                json!([{"type": "disabled"}, null]),
            ),
        ] {
            let (got, notes) = told(effort(Effort::High), form, bounds);
            assert_eq!((got, notes), (want, note.clone()), "{form:?} {bounds:?}");
        }
        let never = Thinking::Adaptive { can_rest: false };
        assert_eq!(told(effort(Effort::High), never, forced).0, "tool_choice");
        let (got, notes) = told(
            effort(Effort::High),
            Thinking::Adaptive { can_rest: true },
            goes_on,
        );
        assert_eq!(
            (got[0]["type"].as_str(), notes.len()),
            (Some("adaptive"), 0)
        );
    }
}
