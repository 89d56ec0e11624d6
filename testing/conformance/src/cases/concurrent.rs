//! Calls at the same time.

use std::sync::Barrier;
use std::thread;

use layerstone_hcs::{ErrorKind, LayerChain};
use layerstone_store::storage::LayerStorage as _;

use crate::{Bench, BenchExt as _, base_content, chain_of};

const THREADS: usize = 8;

/// Layers in different folders do not get in each other's way.
pub fn layers_are_imported_side_by_side(bench: &impl Bench) {
    let source = bench.transport("source", &base_content());
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        for n in 0..THREADS {
            let (source, barrier) = (&source, &barrier);
            scope.spawn(move || {
                let layer = bench.path(&format!("layer{n}"));
                barrier.wait();
                bench
                    .storage()
                    .import_layer(&layer, source, &LayerChain::base())
                    .unwrap_or_else(|error| panic!("{n}: {}", chain_of(&error)));
                bench.storage().destroy_layer(&layer).expect("nobody uses it");
            });
        }
    });
    bench.assert_nothing_held();
}

/// Of several that import into one folder, one does it, and the others are told.
pub fn one_of_many_imports_into_a_folder_wins(bench: &impl Bench) {
    let source = bench.transport("source", &base_content());
    let layer = bench.path("layer");
    let barrier = Barrier::new(THREADS);
    let won: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    match bench.storage().import_layer(&layer, &source, &LayerChain::base()) {
                        Ok(()) => 1,
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{}", chain_of(&error));
                            0
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).sum()
    });
    assert_eq!(won, 1);
    let out = bench.path("out");
    std::fs::create_dir(&out).expect("it is new");
    bench
        .storage()
        .export_layer(&layer, &out, &LayerChain::base(), &Default::default())
        .expect("the layer is whole");
}

/// Scratches over the same parents are attached and detached at the same time.
pub fn scratches_are_attached_side_by_side(bench: &impl Bench) {
    let (_, upper) = bench.two_layers();
    let chain = bench.above(&upper);
    let scratches: Vec<_> = (0..THREADS).map(|n| bench.scratch(&format!("scratch{n}"), &chain)).collect();
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        for scratch in &scratches {
            scope.spawn(|| {
                barrier.wait();
                for _ in 0..3 {
                    let storage = bench.storage();
                    storage
                        .attach_layer_storage_filter(scratch, &chain)
                        .unwrap_or_else(|error| panic!("{}", chain_of(&error)));
                    storage.detach_layer_storage_filter(scratch).expect("it is attached");
                }
            });
        }
    });
    for n in 0..THREADS {
        bench.release_disk(&format!("scratch{n}"));
    }
    bench.assert_nothing_held();
}

/// Of several that attach one scratch, one does it, and the others are told.
pub fn one_of_many_attachments_of_a_scratch_wins(bench: &impl Bench) {
    let (_, upper) = bench.two_layers();
    let chain = bench.above(&upper);
    let scratch = bench.scratch("scratch", &chain);
    let barrier = Barrier::new(THREADS);
    let won = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    match bench.storage().attach_layer_storage_filter(&scratch, &chain) {
                        Ok(()) => 1,
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::InUse, "{}", chain_of(&error));
                            0
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).sum::<usize>()
    });
    assert_eq!(won, 1);
    bench.storage().detach_layer_storage_filter(&scratch).expect("it is attached");
    bench.release_disk("scratch");
    bench.assert_nothing_held();
}
