//! One spelling for one repository, however it is cloned.
//!
//! The first ingredient of a release's trace id. Two agents may read a repository over HTTPS and over
//! SSH, with and without `.git`: they must derive the same trace.

/// Returns the repository as `host/path`: without scheme, credentials, default port, `.git` and
/// trailing slashes, with the host in lower case. A local path stays as it is. Applying it twice
/// changes nothing.
pub fn canonical_repository(url: &str) -> String {
    let url = url.trim();
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
        None => (String::new(), url),
    };
    if scheme.is_empty() && rest.starts_with(['/', '.']) || scheme == "file" {
        return trimmed(rest).to_owned();
    }
    let (authority, path) = split_authority(&scheme, rest);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_ascii_lowercase();
    let host = default_ports(&scheme).iter().find_map(|port| host.strip_suffix(port)).unwrap_or(&host);
    match trimmed(path.trim_start_matches('/')) {
        "" => host.to_owned(),
        path => format!("{host}/{path}"),
    }
}

/// Splits `host/path`, or `user@host:path` where there is no scheme.
fn split_authority<'a>(scheme: &str, rest: &'a str) -> (&'a str, &'a str) {
    let slash = rest.find('/').unwrap_or(rest.len());
    let colon = rest[..slash].find(':').filter(|_| scheme.is_empty());
    match colon {
        Some(colon) if is_scp(&rest[..colon], &rest[colon + 1..slash]) => {
            (&rest[..colon], &rest[colon + 1..])
        }
        _ => (&rest[..slash], &rest[slash..]),
    }
}

/// Whether the colon in `left:right` parts host and path, as for `ssh`, and not host and port.
fn is_scp(left: &str, right: &str) -> bool {
    left.contains('@') || !right.bytes().all(|byte| byte.is_ascii_digit())
}

fn default_ports(scheme: &str) -> &'static [&'static str] {
    match scheme {
        "http" => &[":80"],
        "https" => &[":443"],
        "ssh" | "git+ssh" | "ssh+git" => &[":22"],
        "git" => &[":9418"],
        _ => &[],
    }
}

fn trimmed(path: &str) -> &str {
    let mut path = path;
    loop {
        let shorter = path.trim_end_matches('/');
        let shorter = shorter.strip_suffix(".git").unwrap_or(shorter);
        if shorter == path {
            return path;
        }
        path = shorter;
    }
}
