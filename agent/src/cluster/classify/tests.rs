//! Answers of a Kubernetes 1.37.2 API server as recorded, and what they mean.

use super::*;

/// Returns the class of an answer in one line.
fn class(code: u16, body: &str) -> String {
    match classify(code, None, body.as_bytes()) {
        Failure::Rejected(cause) => format!("rejected {}", cause.reason.word()),
        Failure::NotFound(cause) => format!("not found {}", cause.reason.word()),
        Failure::Replaced(cause) => format!("replaced {}", cause.reason.word()),
        Failure::Unavailable(cause) => format!("unavailable {}", cause.reason.word()),
        Failure::Throttled(_) => "throttled".to_owned(),
        Failure::Unknown(_) => "unknown".to_owned(),
        Failure::Fenced | Failure::NotSent => unreachable!("not from an answer"),
    }
}

/// Builds the recorded answer around what differs.
fn status(message: &str, rest: &str) -> String {
    let message = serde_json::to_string(message).expect("text");
    format!(
        r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":{message},{rest}}}"#
    )
}

#[test]
fn a_body_that_does_not_fit_the_schema_is_rejected() {
    let unknown = status(
        "failed to create typed patch object (default/d; apps/v1, Kind=Deployment): .spec.bogus: field not declared in schema",
        r#""code":500"#,
    );
    assert_eq!(class(500, &unknown), "rejected SchemaInvalid");
    let duplicate = status(
        "error strict decoding patch: error converting YAML to JSON: yaml: unmarshal errors:\n  line 1: key \"kind\" already set in map",
        r#""reason":"BadRequest","code":400"#,
    );
    assert_eq!(class(400, &duplicate), "rejected SchemaInvalid");
}

#[test]
fn validation_is_rejected_and_another_uid_is_a_replaced_object() {
    let immutable = status(
        "Deployment.apps \"d\" is invalid: spec.selector: Invalid value: {}: field is immutable",
        r#""reason":"Invalid","details":{"name":"d","group":"apps","kind":"Deployment","causes":[{"reason":"FieldValueInvalid","message":"Invalid value: {}: field is immutable","field":"spec.selector"}]},"code":422"#,
    );
    assert_eq!(class(422, &immutable), "rejected Invalid");
    let uid = status(
        "Deployment.apps \"d\" is invalid: metadata.uid: Invalid value: \"3b\": field is immutable",
        r#""reason":"Invalid","details":{"name":"d","group":"apps","kind":"Deployment","causes":[{"reason":"FieldValueInvalid","message":"Invalid value: \"3b\": field is immutable","field":"metadata.uid"}]},"code":422"#,
    );
    assert_eq!(class(422, &uid), "replaced Invalid");
    let rule = status(
        "Foo.ex.io \"a\" is invalid: spec: Invalid value: failed rule: self.n != 2",
        r#""reason":"Invalid","details":{"name":"a","group":"ex.io","kind":"Foo","causes":[{"reason":"FieldValueInvalid","message":"Invalid value: failed rule: self.n != 2","field":"spec"}]},"code":422"#,
    );
    assert_eq!(class(422, &rule), "rejected Invalid");
}

#[test]
fn a_policy_is_known_by_its_cause_whatever_code_it_chose() {
    for (code, reason) in [(422, "Invalid"), (403, "Forbidden"), (413, "RequestEntityTooLarge")] {
        let words = "ValidatingAdmissionPolicy 'v1' with binding 'v1' denied request: nope";
        let denied = status(
            &format!("configmaps \"v1\" is forbidden: {words}"),
            &format!(
                r#""reason":"{reason}","details":{{"name":"v1","kind":"configmaps","causes":[{{"message":"{words}"}}]}},"code":{code}"#
            ),
        );
        assert_eq!(class(code, &denied), "rejected AdmissionDenied");
    }
}

#[test]
fn a_webhook_that_is_down_is_unavailable_and_one_that_says_no_is_not() {
    let down = status(
        "Internal error occurred: failed calling webhook \"wh.example.com\": failed to call webhook: Post \"https://127.0.0.1:1/x?timeout=2s\": dial tcp 127.0.0.1:1: connect: connection refused",
        r#""reason":"InternalError","details":{"causes":[{"message":"failed calling webhook \"wh.example.com\""}]},"code":500"#,
    );
    assert_eq!(class(500, &down), "unavailable WebhookUnavailable");
    let denied = status(
        "admission webhook \"wh.example.com\" denied the request: no",
        r#""reason":"Forbidden","code":403"#,
    );
    assert_eq!(class(403, &denied), "rejected AdmissionDenied");
    let without_words = status(
        "admission webhook \"wh.example.com\" denied the request without explanation",
        r#""code":400"#,
    );
    assert_eq!(class(400, &without_words), "rejected AdmissionDenied");
}

#[test]
fn quota_rights_and_a_dying_namespace_all_answer_403() {
    let quota = status(
        "configmaps \"x\" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=1, limited: configmaps=0",
        r#""reason":"Forbidden","details":{"name":"x","kind":"configmaps"},"code":403"#,
    );
    assert_eq!(class(403, &quota), "rejected QuotaExceeded");
    let rights = status(
        "configmaps \"x\" is forbidden: User \"nobody\" cannot patch resource \"configmaps\" in API group \"\" in the namespace \"default\"",
        r#""reason":"Forbidden","details":{"name":"x","kind":"configmaps"},"code":403"#,
    );
    assert_eq!(class(403, &rights), "rejected Forbidden");
    let terminating = status(
        "configmaps \"y\" is forbidden: unable to create new content in namespace term because it is being terminated",
        r#""reason":"Forbidden","details":{"name":"y","kind":"configmaps","causes":[{"reason":"NamespaceTerminating","message":"namespace term is being terminated","field":"metadata.namespace"}]},"code":403"#,
    );
    assert_eq!(class(403, &terminating), "unavailable NamespaceTerminating");
}

#[test]
fn a_404_is_about_the_kind_the_namespace_or_the_object() {
    assert_eq!(class(404, "404 page not found\n"), "not found KindMissing");
    let version = status(
        "the server could not find the requested resource",
        r#""reason":"NotFound","details":{},"code":404"#,
    );
    assert_eq!(class(404, &version), "not found KindMissing");
    assert!(!is_absent(404, version.as_bytes()));
    let namespace = status(
        "namespaces \"other\" not found",
        r#""reason":"NotFound","details":{"name":"other","kind":"namespaces"},"code":404"#,
    );
    assert_eq!(class(404, &namespace), "not found NamespaceMissing");
    let object = status(
        "configmaps \"nope\" not found",
        r#""reason":"NotFound","details":{"name":"nope","kind":"configmaps"},"code":404"#,
    );
    assert!(is_absent(404, object.as_bytes()));
}

#[test]
fn conflicts_may_pass_later() {
    let uid = status(
        "Operation cannot be fulfilled on ConfigMap \"x\": the UID in the precondition (a) does not match the UID in record (b). The object might have been deleted and then recreated",
        r#""reason":"Conflict","details":{"name":"x","kind":"ConfigMap"},"code":409"#,
    );
    assert_eq!(class(409, &uid), "unavailable Conflict");
}

#[test]
fn what_is_too_large_stays_too_large() {
    let request = status(
        "Request entity too large: limit is 3145728",
        r#""reason":"RequestEntityTooLarge","code":413"#,
    );
    assert_eq!(class(413, &request), "rejected TooLarge");
    let store = status(
        "rpc error: code = ResourceExhausted desc = trying to send message larger than max (2500494 vs. 2097152)",
        r#""code":500"#,
    );
    assert_eq!(class(500, &store), "rejected TooLarge");
}

#[test]
fn throttling_carries_the_wait() {
    let wait = SignedDuration::from_secs(3);
    let body = b"Too many requests, please try again later.\n";
    assert_eq!(classify(429, Some(wait), body), Failure::Throttled(Some(wait)));
    let told =
        status("too many", r#""reason":"TooManyRequests","details":{"retryAfterSeconds":2},"code":429"#);
    assert_eq!(classify(429, None, told.as_bytes()), Failure::Throttled(Some(SignedDuration::from_secs(2))));
}

#[test]
fn trouble_of_the_server_passes_and_gateways_leave_it_open() {
    let inner = status("etcdserver: request timed out", r#""code":500"#);
    assert_eq!(class(500, &inner), "unavailable ServerError");
    assert_eq!(class(503, "service unavailable\n"), "unavailable ServerError");
    assert_eq!(
        class(401, &status("Unauthorized", r#""reason":"Unauthorized","code":401"#)),
        "unavailable Forbidden"
    );
    assert_eq!(class(504, "upstream timed out"), "unknown");
    assert_eq!(class(502, "<html>bad gateway</html>"), "unknown");
    assert_eq!(class(405, ""), "rejected Unclassified");
}

#[test]
fn a_page_of_prose_is_cut() {
    let Failure::Rejected(cause) = classify(418, None, &vec![b'x'; 100_000]) else { panic!("rejected") };
    assert_eq!(cause.message.len(), MAX_MESSAGE);
}
