fn main() {
    println!("monopod");
}
