//! Writes the modules of the APIs, and the table of all of them.

use super::{
    rust::{GENERATED, Message, imports, messages},
    schema::Api,
    spelling::{size, snake_case},
};
use std::fmt::Write;

/// The module with the table of all APIs.
pub fn index(apis: &[Api]) -> String {
    let mut out = format!("//! The messages that are served. {GENERATED}\n\n");
    let modules = apis.iter().map(|api| snake_case(&api.name));
    let mut modules: Vec<_> = modules.chain(["data".to_string(), "records".to_string()]).collect();
    modules.sort();
    for module in modules {
        let _ = writeln!(out, "pub mod {module};");
    }
    out.push_str("\nuse super::{Api, VersionRange};\n\n");
    out.push_str("/// The APIs that are served, with their numbers on the wire.\n");
    out.push_str("#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]\n");
    out.push_str("#[repr(i16)]\npub enum ApiKey {\n");
    for api in apis {
        let _ = writeln!(out, "/// `{}`.\n{} = {},", api.name, api.name, api.key);
    }
    out.push_str("}\n\n/// What is served of each API, in the order of the keys.\n");
    let _ = writeln!(out, "pub(super) const APIS: [Api; {}] = [", apis.len());
    for api in apis {
        let _ = writeln!(
            out,
            "Api {{ key: ApiKey::{0}, name: \"{0}\", versions: VersionRange::new({1}, {2}), \
             advertised: VersionRange::new({3}, {4}), flexible_from: {5}, request_limit: {6} }},",
            api.name,
            api.versions.first,
            api.versions.last,
            api.advertised.first,
            api.advertised.last,
            api.flexible_from,
            size(api.request_limit),
        );
    }
    out.push_str("];\n\n");
    out.push_str(
        "/// Calls a macro with `Name module Request Response;` for every API that is served.\n",
    );
    // rustfmt leaves the inside of such a macro alone.
    out.push_str("#[macro_export]\nmacro_rules! for_each_api {\n");
    out.push_str("    ($callback:ident) => {\n        $callback! {\n");
    for api in apis {
        let (module, request, response) =
            (snake_case(&api.name), &api.request.name, &api.response.name);
        let _ = writeln!(out, "            {} {module} {request} {response};", api.name);
    }
    out.push_str("        }\n    };\n}\n");
    out
}

/// The module of one API.
///
/// # Errors
/// Two different structures have one name.
pub fn module(api: &Api) -> anyhow::Result<String> {
    let message = |body| Message { body, versions: api.versions, flexible_from: api.flexible_from };
    let mut body = messages(&[message(&api.request), message(&api.response)])?;
    let _ = writeln!(
        body,
        "impl Request for {} {{\nconst KEY: ApiKey = ApiKey::{};\ntype Response = {};\n}}",
        api.request.name, api.name, api.response.name
    );

    let mut out = format!(
        "//! `{}`: API key {}, versions {} to {}{}.\n//!\n//! {GENERATED}\n\n",
        api.name,
        api.key,
        api.versions.first,
        api.versions.last,
        if api.flexible_from <= api.versions.last {
            format!(", flexible from {}", api.flexible_from)
        } else {
            String::new()
        }
    );
    let wire = [
        "ApiKey",
        "DecodeError",
        "EncodeError",
        "Message",
        "Reader",
        "Request",
        "VersionRange",
        "Writer",
    ];
    out.push_str(&imports(&wire, &body));
    out.push('\n');
    out.push_str(&body);
    Ok(out)
}
