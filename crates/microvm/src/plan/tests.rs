use super::*;

fn plan(accelerator: Accelerator) -> VmPlan {
    VmPlan {
        name: SandboxName::from_random(7),
        vmm: VmmKind::Qemu,
        jailed: false,
        accelerator,
        counter_khz: Some(2_596_140),
        sparse: false,
        gives_back: false,
        memory_mib: 640,
        processors: 2,
        user: 2_147_352_577,
        beginning: Beginning::Boot,
    }
}

#[test]
fn an_emulated_machine_is_these_words_and_no_others() {
    let argv = plan(Accelerator::Tcg).argv().join(" ");
    insta::assert_snapshot!(argv.replace(" -", "\n-"), @r"
    -name ak-0000000000000007
    -M microvm,rtc=on,acpi=on
    -accel tcg,thread=multi,tb-size=256
    -cpu Nehalem
    -m 640M
    -smp 2
    -nodefaults
    -no-user-config
    -display none
    -no-reboot
    -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
    -kernel /proc/self/fd/3
    -initrd /proc/self/fd/5/initramfs
    -append console=ttyS0 quiet panic=-1 rdinit=/init oops=panic mitigations=off norandmaps no_timer_check tsc=reliable tsc_early_khz=2596140
    -- machine
    -global virtio-mmio.force-legacy=false
    -blockdev driver=file,node-name=file,filename=/proc/self/fd/4,read-only=on,auto-read-only=off,locking=off
    -blockdev driver=raw,node-name=root,file=file,read-only=on
    -device virtio-blk-device,drive=root
    -device virtio-serial-device,max_ports=2
    -chardev socket,id=stream,path=/proc/self/fd/5/stream
    -device virtserialport,chardev=stream,nr=1,name=agentkernel
    -object rng-random,id=random,filename=/dev/urandom
    -device virtio-rng-device,rng=random
    -chardev socket,id=control,path=/proc/self/fd/5/control
    -mon chardev=control,mode=control
    -chardev stdio,id=log,signal=off
    -serial chardev:log
    ");
}

#[test]
fn a_machine_on_hardware_differs_in_its_processor_and_keeps_every_mitigation() {
    let emulated = plan(Accelerator::Tcg).argv();
    let words = plan(Accelerator::Kvm).argv();
    let different: Vec<_> = words.iter().filter(|word| !emulated.contains(word)).cloned().collect();
    insta::assert_snapshot!(different.join("\n"), @r"
    kvm
    host
    console=ttyS0 quiet panic=-1 rdinit=/init oops=panic -- machine
    ");
}

#[test]
fn a_machine_that_continues_has_the_same_devices_and_no_kernel_of_its_own() {
    let booted = plan(Accelerator::Kvm).argv();
    let restored = VmPlan { beginning: Beginning::Restore, ..plan(Accelerator::Kvm) }.argv();
    let added: Vec<_> = restored.iter().filter(|word| !booted.contains(word)).cloned().collect();
    assert_eq!(added, ["-incoming", "fd:6"]);
    let left_out: Vec<_> = booted.iter().filter(|word| !restored.contains(word)).cloned().collect();
    assert_eq!(left_out.iter().filter(|word| word.starts_with('-')).count(), 3, "{left_out:?}");
}

#[test]
fn no_plan_has_a_network_device_or_a_way_to_write_to_its_disk() {
    for accelerator in [Accelerator::Kvm, Accelerator::Tcg] {
        let argv = plan(accelerator).argv().join(" ");
        assert!(["-net", "-nic", "-net-"].iter().all(|word| !argv.contains(word)), "{argv}");
        assert_eq!(argv.matches("-blockdev").count(), argv.matches("read-only=on").count());
        assert!(argv.contains("-nodefaults") && argv.contains("spawn=deny"), "{argv}");
    }
}

fn firecracker(jailed: bool, beginning: Beginning) -> VmPlan {
    VmPlan { vmm: VmmKind::Firecracker, jailed, beginning, ..plan(Accelerator::Kvm) }
}

fn said(requests: &[firecracker::Request]) -> String {
    requests.iter().map(|(how, what, body)| format!("{how} {what} {body}\n")).collect()
}

#[test]
fn a_jailed_machine_of_firecrackers_is_these_requests_and_no_others() {
    let plan = firecracker(true, Beginning::Boot);
    assert_eq!(plan.argv(), ["--api-sock", "/api", "--level", "Error"]);
    insta::assert_snapshot!(said(&plan.requests()), @r#"
    PUT /machine-config {"mem_size_mib":640,"smt":false,"vcpu_count":2}
    PUT /boot-source {"boot_args":"console=ttyS0 quiet panic=-1 rdinit=/init oops=panic reboot=k 8250.nr_uarts=1 i8042.noaux i8042.nomux i8042.dumbkbd -- machine","initrd_path":"/initramfs","kernel_image_path":"/kernel"}
    PUT /drives/root {"drive_id":"root","is_read_only":true,"is_root_device":false,"path_on_host":"/root.ext4"}
    PUT /vsock {"guest_cid":3,"uds_path":"/calls"}
    PUT /entropy {}
    PUT /actions {"action_type":"InstanceStart"}
    "#);
    insta::assert_snapshot!(said(&plan.snapshot_requests()), @r#"
    PATCH /vm {"state":"Paused"}
    PUT /snapshot/create {"mem_file_path":"/memory","snapshot_path":"/state","snapshot_type":"Full"}
    "#);
}

#[test]
fn a_snapshot_of_firecrackers_leaves_out_what_was_never_touched_where_that_can_be_known() {
    let plan = VmPlan { sparse: true, ..firecracker(true, Beginning::Boot) };
    assert!(said(&plan.snapshot_requests()).contains("\"snapshot_type\":\"Diff\""));
}

#[test]
fn a_snapshot_of_firecrackers_is_never_written_over_what_its_machine_continues_from() {
    for jailed in [false, true] {
        let [booted, restored] = [Beginning::Boot, Beginning::Restore].map(|way| firecracker(jailed, way));
        assert_eq!(said(&restored.snapshot_requests()), said(&booted.snapshot_requests()));
    }
}

#[test]
fn a_guest_that_can_tell_what_is_free_has_a_balloon_for_that() {
    let requests = said(&VmPlan { gives_back: true, ..firecracker(true, Beginning::Boot) }.requests());
    assert!(
        requests
            .contains(r#"PUT /balloon {"amount_mib":0,"deflate_on_oom":true,"free_page_reporting":true}"#)
    );
    let argv = VmPlan { gives_back: true, ..plan(Accelerator::Tcg) }.argv().join(" ");
    assert!(argv.contains("-device virtio-balloon-device,free-page-reporting=on"), "{argv}");
}

#[test]
fn a_machine_of_firecrackers_without_a_jail_is_told_of_descriptors() {
    let plan = firecracker(false, Beginning::Boot);
    assert_eq!(
        plan.argv().join(" "),
        "--api-sock /proc/self/fd/5/api --level Error --id ak-0000000000000007"
    );
    let requests = said(&plan.requests());
    for place in ["/proc/self/fd/3", "/proc/self/fd/4", "/proc/self/fd/5/initramfs", "/proc/self/fd/5/calls"]
    {
        assert!(requests.contains(&format!("{place:?}")), "{place}: {requests}");
    }
    let restored = said(&firecracker(false, Beginning::Restore).requests());
    insta::assert_snapshot!(restored, @r#"PUT /snapshot/load {"mem_backend":{"backend_path":"/proc/self/fd/7","backend_type":"File"},"resume_vm":true,"snapshot_path":"/proc/self/fd/6"}"#);
}
