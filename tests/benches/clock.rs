// SPDX-License-Identifier: MIT OR Apache-2.0

//! Calls against the clock, with their spread: what instruction counts leave
//! out. Times of an emulated machine are the emulator's; see `make bench`.

use std::time::Duration;

use alpc_tests::bench::{alpc, kinds, sockets, Running, BATCH};
use criterion::{criterion_group, criterion_main, BenchmarkId, Criterion, Throughput};

const BYTES: usize = 64;

fn one<C: FnMut()>(criterion: &mut Criterion, name: &str, elements: usize, mut what: Running<C>) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(elements as u64));
    group.bench_function(BenchmarkId::from_parameter(BYTES), |b| {
        b.iter(|| what.run())
    });
    group.finish();
}

fn benches(criterion: &mut Criterion) {
    one(criterion, "alpc_call", 1, alpc::call(BYTES));
    one(criterion, "alpc_oneway", BATCH, kinds::one_way(BYTES));
    one(criterion, "seqpacket", 1, sockets::seqpacket(BYTES));
}

criterion_group! {
    name = clock;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4))
        .sample_size(60)
        .nresamples(10_000);
    targets = benches
}
criterion_main!(clock);
