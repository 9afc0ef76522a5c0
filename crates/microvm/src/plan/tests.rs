use super::*;

fn plan(accelerator: Accelerator) -> VmPlan {
    VmPlan {
        name: SandboxName::from_random(7),
        accelerator,
        counter_khz: Some(2_596_140),
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
