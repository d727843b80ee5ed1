fn main() { println!("monopod"); }
