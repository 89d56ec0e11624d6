use layerstone_nt::hive::*;
#[test]
fn print_all() {
    let dir = layerstone_testing::samples().join("hives");
    let mut names = Vec::new();
    for d in std::fs::read_dir(&dir).unwrap() {
        for f in std::fs::read_dir(d.unwrap().path()).unwrap() {
            let p = f.unwrap().path();
            let n = p.strip_prefix(&dir).unwrap().to_str().unwrap().to_owned();
            if n.ends_with(".reg") || n.to_lowercase().contains("log") {
                continue;
            }
            names.push(n);
        }
    }
    names.sort();
    for n in names {
        let b = super::support::sample("x", &n).unwrap();
        let t = std::time::Instant::now();
        match Hive::open(&b) {
            Ok(h) => {
                let walked =
                    h.walk().fold((0, 0), |(k, e), r| if r.is_ok() { (k + 1, e) } else { (k, e + 1) });
                let tw = t.elapsed();
                let c = h.check();
                println!(
                    "{n}: walk {walked:?} {tw:?} keys {} values {} data {} big {} sd {} deep {} bins {} cells {} lost {} free {} problems {}",
                    c.keys,
                    c.values,
                    c.data_bytes,
                    c.big_values,
                    c.security_descriptors,
                    c.deepest,
                    c.bins,
                    c.cells,
                    c.lost_cells,
                    c.free_cells,
                    c.problems.len()
                );
                for p in c.problems.iter().take(12) {
                    println!("    {p}");
                }
            }
            Err(e) => println!("{n}: {e}"),
        }
    }
}
