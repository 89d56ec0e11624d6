//! tmp
use std::path::Path;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let store = layerstone_store::Store::create(&args[1]).unwrap();
    match args[2].as_str() {
        "import" => {
            let src = layerstone_oci::open_source(Path::new(&args[3]), &store.staging_root()).unwrap();
            let img = src.resolve(None, args.get(4).map(|p| p.parse().unwrap()).as_ref()).unwrap();
            let r = store.import_image(&src, &img, "x:latest", &Default::default(), &|_| ());
            match r {
                Ok(l) => {
                    for l in l {
                        println!("{}", serde_json::to_string(&l.description).unwrap())
                    }
                }
                Err(e) => {
                    let mut e: &dyn std::error::Error = &e;
                    loop {
                        println!("{e}");
                        match e.source() {
                            Some(s) => e = s,
                            None => break,
                        }
                    }
                    std::process::exit(1)
                }
            }
        }
        "verify" => {
            for id in store.layer_ids().unwrap() {
                let v = store.layer(&id).unwrap().verify(&|_| ()).unwrap();
                println!("{} {:?}", id.0, v);
            }
        }
        _ => {}
    }
}
