use super::*;
use crate::telemetry::{Detail, LogFormat};

fn settings(endpoint: Option<&str>, variables: &[(&str, &str)]) -> Settings {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    resolve(&TelemetryConfig {
        identity: Identity::new("eu-1", "eu-1"),
        endpoint: endpoint.map(str::to_owned),
        headers_file: None,
        detail: Detail::Stages,
        log_format: LogFormat::Text,
        log_filter: None,
        variables: variables.collect(),
    })
}

fn endpoints(settings: &Settings) -> [Option<&str>; 3] {
    [&settings.traces, &settings.metrics, &settings.logs]
        .map(|export| export.as_ref().map(|export| export.endpoint.as_str()))
}

#[test]
fn without_an_endpoint_nothing_is_sent() {
    let settings = settings(None, &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]);
    assert_eq!(endpoints(&settings), [None; 3]);
    assert!(settings.warnings.is_empty());
}

#[test]
fn address_of_the_file_gets_the_paths_of_the_signals() {
    let settings = settings(Some("http://collector:4318/"), &[]);
    assert_eq!(
        endpoints(&settings),
        [
            Some("http://collector:4318/v1/traces"),
            Some("http://collector:4318/v1/metrics"),
            Some("http://collector:4318/v1/logs")
        ]
    );
}

#[test]
fn variables_win_over_the_file_and_those_of_a_signal_over_those_of_all() {
    let settings = settings(
        Some("http://file:4318"),
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://all:4318"),
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://logs:9428/insert/opentelemetry/v1/logs"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"),
            ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "250"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20YTpi,x-scope=a"),
            ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "x-scope=b"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/etc/ca.pem"),
        ],
    );
    assert_eq!(
        endpoints(&settings),
        [
            Some("https://all:4318/v1/traces"),
            Some("https://all:4318/v1/metrics"),
            Some("http://logs:9428/insert/opentelemetry/v1/logs")
        ]
    );
    let (traces, logs) = (settings.traces.unwrap(), settings.logs.unwrap());
    assert_eq!(traces.transport.timeout, Duration::from_millis(1500));
    assert_eq!(logs.transport.timeout, Duration::from_millis(250));
    assert_eq!(traces.headers["authorization"], "Basic YTpi");
    assert_eq!(logs.headers, BTreeMap::from([("x-scope".to_owned(), "b".to_owned())]));
    assert!(traces.gzip && traces.transport.is_tls && !logs.transport.is_tls);
    assert_eq!(traces.transport.ca_file, Some(PathBuf::from("/etc/ca.pem")));
}

#[test]
fn signals_can_be_switched_off() {
    let off = settings(Some("http://c:4318"), &[("OTEL_SDK_DISABLED", "True")]);
    assert_eq!(endpoints(&off), [None; 3]);
    let some = settings(
        Some("http://c:4318"),
        &[
            ("OTEL_TRACES_EXPORTER", "otlp"),
            ("OTEL_METRICS_EXPORTER", "prometheus"),
            ("OTEL_LOGS_EXPORTER", "none"),
        ],
    );
    assert_eq!(endpoints(&some), [Some("http://c:4318/v1/traces"), None, None]);
    assert!(some.warnings.is_empty());
}

#[test]
fn what_cannot_be_understood_is_told_and_ignored() {
    let settings = settings(
        None,
        &[
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://user:secret@c:4318"),
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://c:4318/v1/metrics"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "soon"),
            ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "token:secret,a=b"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "-1"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
            ("OTEL_LOGS_EXPORTER", "console"),
            ("OTEL_RESOURCE_ATTRIBUTES", "team"),
        ],
    );
    insta::assert_snapshot!(settings.warnings.join("\n"), @"
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is ignored: expected an http or https address without credentials
    OTEL_EXPORTER_OTLP_METRICS_TIMEOUT=soon is ignored: expected a number of milliseconds
    OTEL_EXPORTER_OTLP_PROTOCOL=grpc is ignored: expected http/protobuf, which is used
    OTEL_EXPORTER_OTLP_METRICS_HEADERS: 1 of its entries are ignored: expected name=value,…
    OTEL_LOGS_EXPORTER=console is ignored: expected otlp or none
    OTEL_BSP_MAX_QUEUE_SIZE=many is ignored: expected a number above zero
    OTEL_METRIC_EXPORT_INTERVAL=-1 is ignored: expected a number of milliseconds
    OTEL_TRACES_SAMPLER=sometimes is ignored: expected always_on, always_off, traceidratio or parentbased_ and one of these
    OTEL_RESOURCE_ATTRIBUTES: 1 of its entries are ignored: expected name=value,…
    ");
    let metrics = settings.metrics.unwrap();
    assert_eq!(metrics.transport.timeout, Duration::from_secs(10));
    assert_eq!(metrics.headers["a"], "b");
    assert_eq!(settings.span_queue.limit, 2048);
}

#[test]
fn queues_are_as_the_variables_say() {
    let settings = settings(
        None,
        &[
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
            ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "7"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "1000"),
        ],
    );
    assert_eq!(settings.span_queue, Queue { limit: 100, batch: 100, delay: Duration::from_millis(50) });
    assert_eq!(settings.log_queue, Queue { limit: 2048, batch: 7, delay: Duration::from_secs(1) });
    assert_eq!(settings.metric_interval, Duration::from_secs(1));
}

#[test]
fn samplers_have_their_names() {
    let sampler = |name: &str, argument: &str| {
        let variables = [("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", argument)];
        format!("{:?}", settings(None, &variables).sampler)
    };
    insta::assert_snapshot!(sampler("", ""), @"ParentBased(AlwaysOn)");
    insta::assert_snapshot!(sampler("always_off", ""), @"AlwaysOff");
    insta::assert_snapshot!(sampler("traceidratio", "0.25"), @"TraceIdRatioBased(0.25)");
    insta::assert_snapshot!(sampler("parentbased_traceidratio", "0.5"), @"ParentBased(TraceIdRatioBased(0.5))");
    insta::assert_snapshot!(sampler("traceidratio", "7"), @"TraceIdRatioBased(1.0)");
}

#[test]
fn operators_have_the_last_word_on_the_resource() {
    let settings = settings(
        None,
        &[
            ("OTEL_SERVICE_NAME", "skiff-eu"),
            ("OTEL_RESOURCE_ATTRIBUTES", "team=a%20b, deployment.environment.name=prod,service.name=x"),
        ],
    );
    let attributes: Vec<String> =
        settings.resource.iter().map(|attribute| format!("{}={}", attribute.key, attribute.value)).collect();
    insta::assert_snapshot!(attributes.join("\n"), @"
    deployment.environment.name=prod
    k8s.cluster.name=eu-1
    service.instance.id=eu-1
    service.name=skiff-eu
    service.version=0.1.0
    team=a b
    ");
}
