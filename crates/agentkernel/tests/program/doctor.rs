//! What works here.

use serde_json::Value;

use crate::support::Trial;

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn the_json_form_has_its_schema() {
    let said = Trial::new().say(&["doctor", "--format", "json"]);
    let json: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    assert_eq!(keys(&json), ["backends", "daemon", "host", "schema", "version"]);
    assert_eq!(json["schema"], 1);
    assert_eq!(
        keys(&json["host"]),
        ["architecture", "cgroups", "kernel", "kvm", "root", "seccomp", "swap", "user_namespaces"]
    );
    let backends = json["backends"].as_array().expect("a list");
    let kinds: Vec<&str> = backends.iter().filter_map(|backend| backend["backend"].as_str()).collect();
    assert_eq!(
        kinds,
        [
            "apple",
            "firecracker",
            "qemu",
            "hyperlight",
            "gvisor",
            "oci",
            "runc",
            "crun",
            "docker",
            "podman",
            "wasm"
        ],
        "strongest first"
    );
    let oci = backends.iter().find(|backend| backend["backend"] == "oci").expect("it is there");
    let apple = &backends[0];
    assert_eq!(
        (&apple["status"], &apple["needs"]),
        (&Value::from("unavailable"), &Value::from("macOS 26 or newer, and this is Linux"))
    );
    match oci["status"].as_str() {
        Some("available") => {
            assert!(oci["facts"].as_array().is_some_and(|facts| !facts.is_empty()), "{oci}");
            assert_eq!(said.status.code(), Some(0));
        }
        Some("unavailable") => {
            assert!(oci["needs"].is_string() && oci["hint"].is_string(), "{oci}");
            assert_eq!(said.status.code(), Some(1));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(
        (&json["daemon"]["version"], &json["daemon"]["why"]),
        (&Value::Null, &Value::from("no daemon is running"))
    );
    let levels = ["no_device", "no_permission", "broken", "emulated_kernel_mode", "hardware", "not_probed"];
    assert!(json["host"]["kvm"]["level"].as_str().is_some_and(|level| levels.contains(&level)), "{json}");
}

#[test]
fn the_text_form_names_every_backend_and_the_host() {
    let said = Trial::new().say(&["doctor"]).stdout_text();
    for word in
        ["BACKEND", "oci", "HOST", "kernel", "user namespaces", "seccomp", "cgroups", "kvm", "swap", "DAEMON"]
    {
        assert!(said.contains(word), "no {word} in\n{said}");
    }
}
