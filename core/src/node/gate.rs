//! The gate.
use crate::Remote;
#[derive(Debug)]
pub(crate) struct Ticket;
pub(crate) struct Gate;
impl Gate {
    pub(crate) async fn ticket(&self, _: &Remote) -> Ticket {
        todo!()
    }
    pub(crate) fn try_ticket(&self, _: &Remote) -> Option<Ticket> {
        todo!()
    }
}
