//! Which route a method and a path name.

use crate::dialect::route::Route;
use crate::wire::http1::Method;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A model, through one of the dialect's routes.
    Model(Route),
    /// Something that the gateway answers itself.
    Local(Local),
    /// No such path.
    Nothing,
}

/// What the gateway answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// The list of models.
    Models,
    /// One model by name: what follows [`MODEL_PATH`].
    OneModel,
    /// Whether the process lives.
    Live,
    /// Whether the process takes requests.
    Ready,
    /// The path exists, with these methods.
    WrongMethod(&'static str),
}

/// The path of one model, up to its name.
pub const MODEL_PATH: &[u8] = b"/v1/models/";

/// The route that `method` and `path` name. Paths are compared as they came: no decoding,
/// no dot segments, so there is no second spelling of a route.
pub fn route(method: Method, path: &[u8]) -> Asked {
    let asked = match path {
        b"/v1/models" => Asked::Local(Local::Models),
        b"/livez" => Asked::Local(Local::Live),
        b"/readyz" => Asked::Local(Local::Ready),
        _ => match (Route::find(path), path.strip_prefix(MODEL_PATH)) {
            (Some((route, _)), _) => Asked::Model(route),
            (None, Some([_, ..])) => Asked::Local(Local::OneModel),
            _ => return Asked::Nothing,
        },
    };
    match (asked, method) {
        (Asked::Model(_), Method::Post) => asked,
        (Asked::Model(_), _) => Asked::Local(Local::WrongMethod("POST")),
        (_, Method::Get | Method::Head) => asked,
        _ => Asked::Local(Local::WrongMethod("GET, HEAD")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: each route has one spelling and its own methods.
    #[test]
    fn a_route_has_one_spelling_and_its_methods() {
        assert_eq!(
            route(Method::Post, b"/v1/chat/completions"),
            Asked::Model(Route::Chat)
        );
        assert_eq!(
            route(Method::Get, b"/v1/chat/completions"),
            Asked::Local(Local::WrongMethod("POST"))
        );
        assert_eq!(
            route(Method::Get, b"/v1/models/a/b"),
            Asked::Local(Local::OneModel)
        );
        assert_eq!(
            route(Method::Post, b"/v1beta/models/a:generateContent"),
            Asked::Model(Route::Generate)
        );
        assert_eq!(
            route(Method::Post, b"/livez"),
            Asked::Local(Local::WrongMethod("GET, HEAD"))
        );
        for path in [
            "/",
            "/v1/models/",
            "/v1/chat/completions/",
            "/v1//models",
            "/V1/models",
            "/v1/../livez",
        ] {
            assert_eq!(
                route(Method::Get, path.as_bytes()),
                Asked::Nothing,
                "{path}"
            );
        }
    }
}
