//! The rows of a report as they come from the server.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::time::{Instant, Sleep};
use tokio_postgres::RowStream;

use super::Frame;
use super::rows::FromRow;
use crate::error::Error;
use crate::pool::{Connection, Pool};

/// Rows of a report, in its order. Holds one connection of the report pool until it is dropped, so
/// read on without waiting for others; the time a reader takes counts towards the server's
/// statement time-out. After an error there are no more rows.
pub struct Rows<T> {
    /// Before the connection, so that it is gone first.
    rows: Pin<Box<RowStream>>,
    connection: Option<Connection>,
    pool: Pool,
    frame: Frame,
    /// Runs while we wait for the server, not while the reader takes its time.
    patience: Pin<Box<Sleep>>,
    waiting: bool,
    kind: PhantomData<fn() -> T>,
}

impl<T> Rows<T> {
    pub(super) fn new(rows: RowStream, connection: Connection, pool: Pool, frame: Frame) -> Self {
        let patience = Box::pin(tokio::time::sleep(pool.patience()));
        Self {
            rows: Box::pin(rows),
            connection: Some(connection),
            pool,
            frame,
            patience,
            waiting: false,
            kind: PhantomData,
        }
    }

    /// Ends the stream, and gives the connection back or throws it away.
    fn fail(&mut self, error: Error) -> Poll<Option<Result<T, Error>>> {
        let result = Err(error);
        if let Some(connection) = self.connection.take() {
            self.pool.settle(connection, &result);
        }
        Poll::Ready(Some(result))
    }
}

impl<T> fmt::Debug for Rows<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("frame", &self.frame).finish_non_exhaustive()
    }
}

impl<T: FromRow> Stream for Rows<T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.connection.is_none() {
            return Poll::Ready(None);
        }
        match this.rows.as_mut().poll_next(context) {
            Poll::Ready(Some(Ok(row))) => {
                this.waiting = false;
                match T::read(&row, &this.frame) {
                    Ok(row) => Poll::Ready(Some(Ok(row))),
                    Err(error) => this.fail(error),
                }
            }
            Poll::Ready(Some(Err(error))) => this.fail(error.into()),
            Poll::Ready(None) => {
                this.connection = None;
                Poll::Ready(None)
            }
            Poll::Pending => {
                if !this.waiting {
                    this.waiting = true;
                    this.patience.as_mut().reset(Instant::now() + this.pool.patience());
                }
                match this.patience.as_mut().poll(context) {
                    Poll::Ready(()) => {
                        let error = this.pool.no_answer();
                        this.fail(error)
                    }
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }
}
