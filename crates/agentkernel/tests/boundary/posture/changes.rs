//! The changes of a plan by which a control is taken away.

use std::path::PathBuf;

use agentkernel_oci::plan::{BindOptions, CgroupPlan, Plan, Step};
use serde_json::{Value, json};

pub fn root_with_one(plan: &mut Plan) {
    plan.config["process"]["user"] = json!({"uid": 0, "gid": 0});
    for set in ["bounding", "permitted", "effective"] {
        plan.config["process"]["capabilities"][set] = json!(["CAP_CHOWN"]);
    }
}

pub fn bind_of_usr(plan: &mut Plan) -> (&mut PathBuf, &mut BindOptions) {
    let found = plan.stage.iter_mut().find_map(|step| match step {
        Step::Bind { path, source, options } if path.ends_with("usr") => Some((source, options)),
        _ => None,
    });
    found.expect("the host image has it")
}

pub fn group(plan: &mut Plan) -> &mut CgroupPlan {
    plan.cgroup.as_mut().expect("these limits need a control group")
}

fn retain(list: &mut Value, keep: impl Fn(&Value) -> bool) {
    list.as_array_mut().expect("a list").retain(|entry| keep(entry));
}

pub fn drop_namespace(plan: &mut Plan, kind: &str) {
    retain(&mut plan.config["linux"]["namespaces"], |entry| entry["type"] != kind);
    if kind == "uts" {
        plan.config.as_object_mut().expect("an object").remove("hostname");
    }
}

pub fn drop_rlimit(plan: &mut Plan, kind: &str) {
    retain(&mut plan.config["process"]["rlimits"], |entry| entry["type"] != kind);
}

/// The option that begins so.
pub fn drop_mount_option(plan: &mut Plan, place: &str, option: &str) {
    let mounts = plan.config["mounts"].as_array_mut().expect("a list");
    let mount = mounts.iter_mut().find(|mount| mount["destination"] == place).expect("mounted");
    let is_it = |entry: &Value| entry.as_str().is_some_and(|entry| entry.starts_with(option));
    retain(&mut mount["options"], |entry| !is_it(entry));
}

/// Its files are nobody's inside, so that none can be written to all the same.
pub fn usr_for_writing(plan: &mut Plan) {
    bind_of_usr(plan).1.read_only = false;
}
