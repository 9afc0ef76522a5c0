//! How long a sibling takes to answer while another sandbox does its worst. Not a test of anything: run it
//! alone, with optimisation, and read what it prints.

use std::time::{Duration, Instant};

use agentkernel_core::{Backend as _, Sandbox};
use tokio::sync::watch;

use crate::attacks::Attack;
use crate::oracle::answer_time;
use crate::support::{fixture, spec, spec_with};
use crate::victim::{aftermath, suffer};
use crate::{TURN, attacks, probe};

/// How long each is measured.
const TIME: Duration = Duration::from_secs(3);

/// Attacks that are over sooner begin again, unless they were the end of their sandbox.
async fn under(attack: &Attack, victim: &dyn Sandbox, sibling: &dyn Sandbox) -> Vec<Duration> {
    let (_rounds, heard) = watch::channel(usize::MAX);
    let again_and_again = async {
        while aftermath(victim).await == Ok(None) {
            suffer(victim, attack, attack.words, heard.clone()).await;
        }
        std::future::pending::<std::convert::Infallible>().await
    };
    tokio::select! {
        samples = answers(sibling) => samples,
        never = again_and_again => match never {},
    }
}

async fn answers(sibling: &dyn Sandbox) -> Vec<Duration> {
    let began = Instant::now();
    let mut samples = Vec::new();
    while began.elapsed() < TIME {
        samples.push(answer_time(sibling).await.expect("the sibling answers"));
    }
    samples
}

fn print(what: &str, mut samples: Vec<Duration>) {
    samples.sort();
    let at = |percent: usize| samples[(samples.len() - 1) * percent / 100].as_secs_f64() * 1000.0;
    println!("| {what} | {:.2} | {:.2} | {:.2} | {} |", at(50), at(95), at(100), samples.len());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn measure_a_siblings_answers_under_attack() {
    let _turn = TURN.lock().await;
    let Some(fixture) = fixture().await else { return };
    let sibling = fixture.backend.boot(&spec()).await.expect("boots").sandbox;
    println!("| `/bin/true` in a sibling, during | p50 ms | p95 ms | max ms | n |\n|---|---|---|---|---|");
    print("nothing", answers(&*sibling).await);
    for attack in attacks() {
        let victim = fixture.backend.boot(&spec_with((attack.limits)())).await.expect("boots").sandbox;
        probe::put_into(&*victim).await;
        print(attack.name, under(attack, &*victim, &*sibling).await);
        victim.stop().await.expect("stops");
    }
    print("nothing, again", answers(&*sibling).await);
    sibling.stop().await.expect("stops");
}
