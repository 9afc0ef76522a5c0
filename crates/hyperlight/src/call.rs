//! A call of a module's function, in a machine that was restored for it.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use agentkernel_core::{Call, Error, ErrorKind, Result, Returned, Usage};
use tokio::sync::{OwnedMutexGuard, oneshot};
use tokio::time::timeout;

use crate::helper::Hearing;
use crate::life::{KILL_DEADLINE, sleep_or_never};
use crate::sandbox::House;
use crate::wire::{self, End, News, Order};

const WHAT: &str = "call the function";

/// Calls a function, and gives it up at its deadline, or with whoever waits for it. Calls of one sandbox come one after the
/// other.
pub(crate) async fn call(house: &Arc<House>, call: &Call) -> Result<Returned> {
    house.check_open()?;
    if !house.has_module {
        let error = Error::new(ErrorKind::NotSupported, WHAT, "the sandbox runs Linux programs");
        return Err(error.on(&call.function).hint("make it of a module: --module FILE"));
    }
    let began = Instant::now();
    let entered = tokio::select! {
        hearing = Arc::clone(&house.hearing).lock_owned() => hearing,
        () = sleep_or_never(call.timeout) => return Err(call.late()),
    };
    let (given_up, is_given_up) = oneshot::channel();
    let exchange = Exchange { house: Arc::clone(house), hearing: entered, call: call.clone(), began };
    // It goes on until the helper is silent, also if nobody waits for it any more.
    let task = tokio::spawn(exchange.perform(is_given_up));
    let _dropped_with_us: oneshot::Sender<()> = given_up;
    task.await.unwrap_or_else(|why| Err(Error::new(ErrorKind::Internal, WHAT, why)))
}

/// One call, and all that the helper says of it.
struct Exchange {
    house: Arc<House>,
    hearing: OwnedMutexGuard<Hearing>,
    call: Call,
    began: Instant,
}

impl Exchange {
    async fn perform(mut self, mut given_up: oneshot::Receiver<()>) -> Result<Returned> {
        let gone = |house: &House, why: io::Error| {
            house.lose();
            Error::new(ErrorKind::SandboxGone, WHAT, why)
        };
        let arguments = serde_json::Value::from(self.call.arguments.clone()).to_string();
        let order = Order::Call(wire::Call { function: self.call.function.clone(), arguments });
        self.house.helper.order(&order).await.map_err(|why| gone(&self.house, why))?;
        let left = self.call.timeout.map(|limit| limit.saturating_sub(self.began.elapsed()));
        let news = tokio::select! {
            biased;
            news = self.hearing.next() => Some(news),
            () = sleep_or_never(left) => None,
            _ = &mut given_up => None,
        };
        let news = match news {
            Some(news) => news,
            None => self.destroyed().await,
        };
        match news.map_err(|why| gone(&self.house, why))? {
            News::Returned(values) => self.returned(&values),
            News::NotReturned(error) => Err(error.on(&self.call.function)),
            News::Ended(End::Crashed(_, why)) => {
                let why = format!("its machine crashed: {why}");
                Err(Error::new(ErrorKind::Trapped, WHAT, why).on(&self.call.function))
            }
            News::Ended(End::Killed) => Err(self.call.late()),
            other => Err(gone(&self.house, io::Error::other(format!("the helper said {other:?}")))),
        }
    }

    /// Has the machine destroyed, and hears the last word of it.
    async fn destroyed(&mut self) -> io::Result<News> {
        self.house.helper.order(&Order::Kill).await?;
        let last = timeout(KILL_DEADLINE, self.hearing.next()).await;
        last.unwrap_or_else(|late| Err(late.into()))
    }

    fn returned(&self, values: &str) -> Result<Returned> {
        let values =
            serde_json::from_str(values).map_err(|why| Error::new(ErrorKind::Internal, WHAT, why))?;
        let usage = Usage { wall: self.began.elapsed(), ..Usage::default() };
        Ok(Returned { values, usage })
    }
}
