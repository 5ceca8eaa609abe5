// SPDX-License-Identifier: GPL-2.0

//! The state machine of a port, on the host. The engine is compiled into this crate, with its audit.

#[allow(dead_code)]
#[path = "../../engine/mod.rs"]
mod engine;

mod actors;
mod clients;
mod disconnect;
mod ends;
mod gauges;
mod holder;
mod host;
mod ports;
mod queues;
mod random;
mod receive;
mod straight;
mod table;
mod talk;
mod threads;
mod world;
