//! The program as its users see it: the real binary in temporary projects. Modules follow what users do; tests are
//! named after what must or must not happen.

mod lab;

mod cache;
mod commands;
mod crash;
mod data;
mod failures;
mod golden;
mod layers;
mod lock;
mod naming;
mod output;
mod ranking;
mod repository;
mod sequences;
mod shared;
mod signals;
mod training;
