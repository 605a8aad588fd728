//! Requests to the API server, counted where all of them pass: below kube's client.
//!
//! The verb is the one that Kubernetes' audit log names, with `apply` for server-side applies and `dry_run`
//! for what changes nothing, so that the two headline figures of a sync can be read apart.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::CONTENT_TYPE;
use http::{Method, Request, Response};
use tower::{Layer, Service};

use super::Shared;

/// A layer for kube's `ClientBuilder` that counts every request by verb and code.
#[derive(Clone)]
pub struct CountRequests {
    pub(super) shared: Arc<Shared>,
}

impl<S> Layer<S> for CountRequests {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, shared: self.shared.clone() }
    }
}

/// A service whose requests are counted.
#[derive(Clone)]
pub struct Counted<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S, B, R> Service<Request<B>> for Counted<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut sent = Sent { shared: self.shared.clone(), verb: verb(&request), code: 0 };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            sent.answered(answer.as_ref().map_or(0, |answer| answer.status().as_u16()));
            answer
        })
    }
}

/// A request under way. It is counted when it goes out of scope: also one that was given up.
struct Sent {
    shared: Arc<Shared>,
    verb: &'static str,
    code: u16,
}

impl Sent {
    // A method, as the future must own the whole of it: a field alone would leave the rest behind.
    fn answered(&mut self, code: u16) {
        self.code = code;
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.shared.metrics.request(self.verb, self.code);
    }
}

fn verb<B>(request: &Request<B>) -> &'static str {
    let query = request.uri().query().unwrap_or_default();
    let has = |wanted: &str| query.split('&').any(|parameter| parameter == wanted);
    let is_named = is_named(request.uri().path());
    match *request.method() {
        _ if has("dryRun=All") => "dry_run",
        Method::GET if has("watch=true") || has("watch=1") => "watch",
        Method::GET if is_named => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH if is_apply(request) => "apply",
        Method::PATCH => "patch",
        Method::DELETE if is_named => "delete",
        Method::DELETE => "deletecollection",
        _ => "other",
    }
}

fn is_apply<B>(request: &Request<B>) -> bool {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/apply-patch"))
}

/// Whether a path names one object, or something that is not a resource at all, such as `/version`.
fn is_named(path: &str) -> bool {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let resource = match segments.as_slice() {
        ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
        _ => return true,
    };
    match resource {
        ["namespaces", _, _] => false,
        ["namespaces", _, ..] => true,
        resource => resource.len() != 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::tests::telemetry;

    fn of(method: Method, uri: &str, content_type: &str) -> &'static str {
        let request = Request::builder().method(method).uri(uri).header(CONTENT_TYPE, content_type).body(());
        verb(&request.expect("a request"))
    }

    #[tokio::test]
    async fn answered_and_given_up_requests_are_counted() {
        let telemetry = telemetry();
        let answer = |request: Request<()>| async move {
            if request.uri().path() == "/api/v1/nodes" {
                return Response::builder().status(403).body(());
            }
            std::future::pending().await
        };
        let mut client = telemetry.count_requests().layer(tower::service_fn(answer));
        let request = |uri| Request::get(uri).body(()).expect("a request");
        client.call(request("/api/v1/nodes")).await.expect("an answer");
        drop(client.call(request("/api/v1/pods")));
        let metrics = telemetry.prometheus().expect("the metrics can be encoded");
        let counted: Vec<&str> =
            metrics.lines().filter(|line| line.starts_with("skiff_api_requests")).collect();
        insta::assert_snapshot!(counted.join("\n"), @r#"
        skiff_api_requests_total{http_response_status_code="0",skiff_api_verb="list",k8s_cluster_name="eu-1"} 1
        skiff_api_requests_total{http_response_status_code="403",skiff_api_verb="list",k8s_cluster_name="eu-1"} 1
        "#);
    }

    #[test]
    fn verbs_are_those_of_kubernetes() {
        let cases = [
            (Method::GET, "/version", "get"),
            (Method::GET, "/apis/apps/v1", "get"),
            (Method::GET, "/api/v1/nodes", "list"),
            (Method::GET, "/api/v1/namespaces", "list"),
            (Method::GET, "/api/v1/namespaces/shop", "get"),
            (Method::GET, "/api/v1/namespaces/shop/configmaps", "list"),
            (Method::GET, "/api/v1/namespaces/shop/configmaps/web", "get"),
            (Method::GET, "/apis/apps/v1/deployments?labelSelector=a%3Db&watch=true", "watch"),
            (Method::POST, "/api/v1/namespaces/shop/events", "create"),
            (Method::PUT, "/api/v1/namespaces/shop/configmaps/web", "update"),
            (Method::PATCH, "/apis/skiff.dev/v1alpha1/namespaces/skiff/apps/web/status", "patch"),
            (Method::DELETE, "/api/v1/namespaces/shop/configmaps/web?propagationPolicy=Background", "delete"),
            (Method::DELETE, "/api/v1/namespaces/shop/configmaps", "deletecollection"),
        ];
        for (method, uri, verb) in cases {
            assert_eq!(of(method.clone(), uri, "application/merge-patch+json"), verb, "{method} {uri}");
        }
        let apply = "/api/v1/namespaces/shop/configmaps/web?fieldManager=skiff&force=true";
        assert_eq!(of(Method::PATCH, apply, "application/apply-patch+yaml"), "apply");
        let dry_run = format!("{apply}&dryRun=All");
        assert_eq!(of(Method::PATCH, &dry_run, "application/apply-patch+yaml"), "dry_run");
    }
}
