//! What is rendered only where a value asks for it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{documents, find, render};

/// Returns what is rendered with values that are set by `key=value`.
fn with(values: &[&str]) -> Vec<Value> {
    let arguments: Vec<&str> = values.iter().flat_map(|value| ["--set", value]).collect();
    documents(&render(&arguments).expect("the values are right"))
}

fn kinds(documents: &[Value]) -> BTreeSet<String> {
    documents.iter().filter_map(|document| Some(document["kind"].as_str()?.to_owned())).collect()
}

/// Returns the pods' template: a rollout restarts the agent when it changes.
fn template(documents: &[Value]) -> &Value {
    &find(documents, "Deployment")["spec"]["template"]
}

#[test]
fn switches_add_their_kinds_and_nothing_else() {
    let usual = kinds(&with(&[]));
    let added =
        |switch: &str| -> Vec<String> { kinds(&with(&[switch])).difference(&usual).cloned().collect() };
    assert_eq!(added("podDisruptionBudget.enabled=true"), ["PodDisruptionBudget"]);
    assert_eq!(added("serviceMonitor.enabled=true"), ["Service", "ServiceMonitor"]);
    assert_eq!(added("networkPolicy.enabled=true"), ["NetworkPolicy"]);
    assert_eq!(added("webhooks.listen=0.0.0.0:9091"), ["Service"]);
    let removed =
        |switch: &str| -> Vec<String> { usual.difference(&kinds(&with(&[switch]))).cloned().collect() };
    assert_eq!(removed("crd.install=false"), ["CustomResourceDefinition"]);
    assert_eq!(removed("serviceAccount.create=false"), ["ServiceAccount"]);
    assert_eq!(
        removed("approvalPolicy.install=false"),
        ["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"]
    );
}

#[test]
fn what_selects_pods_selects_the_agents() {
    let documents = with(&[
        "podDisruptionBudget.enabled=true",
        "serviceMonitor.enabled=true",
        "networkPolicy.enabled=true",
        "serviceMonitor.labels.release=prometheus",
    ]);
    let labels = template(&documents)["metadata"]["labels"].as_object().expect("the pods have labels");
    let service = find(&documents, "Service");
    let monitor = find(&documents, "ServiceMonitor");
    let of_pods = [
        &find(&documents, "Deployment")["spec"]["selector"]["matchLabels"],
        &find(&documents, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        &find(&documents, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        &service["spec"]["selector"],
    ];
    for selector in of_pods {
        let selector = selector.as_object().expect("it selects by labels");
        assert!(!selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value)));
    }
    let of_service = monitor["spec"]["selector"]["matchLabels"].as_object().expect("labels");
    assert!(of_service.iter().all(|(key, value)| service["metadata"]["labels"].get(key) == Some(value)));
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    assert_eq!(monitor["spec"]["endpoints"], json!([{"port": "http", "path": "/metrics"}]));
}

#[test]
fn webhooks_have_a_port_a_service_and_who_may_send_them() {
    let documents = with(&[
        "webhooks.listen=0.0.0.0:9091",
        "webhooks.github.secretFile=/etc/skiff-credentials/hooks/github",
        "networkPolicy.enabled=true",
        "networkPolicy.webhooksFrom[0].namespaceSelector.matchLabels.name=ingress",
    ]);
    let ports = &template(&documents)["spec"]["containers"][0]["ports"];
    assert_eq!(ports[1], json!({"name": "webhooks", "containerPort": 9091}));
    let service = find(&documents, "Service");
    assert_eq!(service["metadata"]["name"], "skiff-webhooks");
    assert_eq!(service["spec"]["ports"][0]["targetPort"], "webhooks");
    let from = json!([{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}]);
    let rule = json!({"from": from, "ports": [{"port": "webhooks", "protocol": "TCP"}]});
    assert_eq!(find(&documents, "NetworkPolicy")["spec"]["ingress"], json!([rule]));
}

#[test]
fn network_policy_follows_the_configured_addresses() {
    let documents = with(&[
        "networkPolicy.enabled=true",
        "networkPolicy.apiServerPorts={6443}",
        "networkPolicy.cidrs={10.0.0.0/8}",
        "networkPolicy.ingressFrom[0].namespaceSelector.matchLabels.name=monitoring",
        "networkPolicy.egress[0].ports[0].port=9000",
        "environments[0].source.url=ssh://git@git.example:2222/shop",
        "environments[0].source.proxy.url=http://proxy.example:3128",
        "environments[1].name=staging",
        "environments[1].source.url=git@git.example:shop",
        "environments[1].source.ref.branch=main",
        "environments[2].name=development",
        "environments[2].source.url=https://[2001:db8::1]/shop",
        "environments[2].source.ref.branch=main",
        "environments[2].repositories[0].url=oci://charts.example:5000/shop",
        "telemetry.otlp.endpoint=http://collector:4318/otlp",
    ]);
    let spec = &find(&documents, "NetworkPolicy")["spec"];
    assert_eq!(spec["policyTypes"], json!(["Ingress", "Egress"]));
    let tcp = |port: u16| json!({"port": port, "protocol": "TCP"});
    assert_eq!(
        spec["egress"],
        json!([
            {"ports": [{"port": 53, "protocol": "UDP"}, tcp(53)]},
            {
                "ports": [tcp(22), tcp(2222), tcp(3128), tcp(4318), tcp(443), tcp(5000), tcp(6443)],
                "to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
            },
            {"ports": [{"port": 9000}]},
        ])
    );
    let ports = json!([{"port": "http", "protocol": "TCP"}]);
    let from = json!([{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]);
    assert_eq!(spec["ingress"], json!([{"from": from, "ports": ports}]));

    let closed = with(&["networkPolicy.enabled=true"]);
    let closed = &find(&closed, "NetworkPolicy")["spec"];
    assert_eq!(closed["ingress"], json!([]));
    assert_eq!(closed["egress"][1], json!({"ports": [tcp(443), tcp(6443)]}));
}

#[test]
fn pods_restart_for_what_the_agent_reads_once_and_for_nothing_else() {
    let usual = with(&[]);
    let restarts = |value: &str| template(&with(&[value])) != template(&usual);
    for value in [
        "environments[0].source.url=https://git.example/other",
        "environments[0].limits.clusterScoped=false",
        "cluster.labels.region=eu",
        "cluster.vars.domain=eu.example",
        "rbac.mode=custom",
        "networkPolicy.enabled=true",
        "replicas=0",
    ] {
        assert!(!restarts(value), "{value} needs no restart");
    }
    for value in [
        "cluster.name=other",
        "agent.instance=blue",
        "telemetry.detail=app",
        "http.listen=0.0.0.0:9091",
        "render.timeout=30s",
        "state.directory=/var/lib/other",
        "lease.duration=20s",
        "credentials={shop-git}",
    ] {
        assert!(restarts(value), "{value} needs a restart");
    }
}

#[test]
fn rights_in_chosen_namespaces_are_roles_there_and_none_over_the_cluster() {
    let documents = with(&["rbac.mode=namespaces", "agent.namespaces={shop,pay,shop}"]);
    assert!(!kinds(&documents).contains("ClusterRole") && !kinds(&documents).contains("ClusterRoleBinding"));
    let named = |kind: &str| -> Vec<(&str, &str)> {
        let found = documents.iter().filter(|document| document["kind"] == kind);
        found
            .map(|document| &document["metadata"])
            .filter_map(|metadata| Some((metadata["namespace"].as_str()?, metadata["name"].as_str()?)))
            .collect()
    };
    let wanted = [("skiff-system", "skiff"), ("shop", "skiff-skiff-system"), ("pay", "skiff-skiff-system")];
    assert_eq!(named("Role"), wanted);
    assert_eq!(named("RoleBinding"), wanted);
    let roles: Vec<&Value> = documents.iter().filter(|document| document["kind"] == "Role").collect();
    let everything = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
    assert_eq!(roles[1]["rules"], everything);

    let few = with(&[
        "rbac.mode=namespaces",
        "agent.namespaces={shop}",
        "rbac.rules[0].apiGroups={apps}",
        "rbac.rules[0].resources={deployments}",
        "rbac.rules[0].verbs={get}",
    ]);
    let role = few.iter().find(|document| document["metadata"]["namespace"] == "shop").expect("a role");
    let rule = json!([{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}]);
    assert_eq!(role["rules"], rule);

    let error = render(&["--set", "rbac.mode=namespaces"]).expect_err("no namespace is named");
    assert!(error.contains("at '/agent/namespaces': minItems: got 0, want 1"), "{error}");
}

#[test]
fn two_replicas_avoid_each_others_node_unless_told_otherwise() {
    let affinity = |values: &[&str]| template(&with(values))["spec"]["affinity"].clone();
    assert_eq!(affinity(&[]), Value::Null);
    let standby = affinity(&["replicas=2"]);
    let term =
        &standby["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"];
    assert_eq!(term["topologyKey"], "kubernetes.io/hostname");
    let labels = json!({"app.kubernetes.io/name": "skiff", "app.kubernetes.io/instance": "skiff"});
    assert_eq!(term["labelSelector"]["matchLabels"], labels);
    assert_eq!(affinity(&["replicas=2", "affinity.nodeAffinity.x=y"]), json!({"nodeAffinity": {"x": "y"}}));
}

#[test]
fn mounted_credentials_are_where_the_documents_say() {
    let documents = with(&["credentials={shop-git}"]);
    let spec = &template(&documents)["spec"];
    let mounts = spec["containers"][0]["volumeMounts"].as_array().expect("a list");
    let wanted = json!({
        "name": "credentials-shop-git", "mountPath": "/etc/skiff-credentials/shop-git", "readOnly": true,
    });
    assert!(mounts.contains(&wanted));
    let volumes = spec["volumes"].as_array().expect("a list");
    let volume = volumes.iter().find(|volume| volume["name"] == "credentials-shop-git");
    assert_eq!(volume.expect("the Secret is a volume")["secret"]["secretName"], "shop-git");
}
