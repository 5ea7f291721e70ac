//! The words of generated texts. Categories, features and colours are those of the real set; all others are invented.
//!
//! Texts have the form of the file: quotes are doubled.

/// Categories of products.
pub(crate) const CATEGORIES: [&str; 27] = [
    "Backpack",
    "Basketball Shoes",
    "Boots",
    "Cap",
    "Coat",
    "Dress Shoes",
    "Dress",
    "Hat",
    "Heels",
    "Hoodie",
    "Jackets",
    "Kicks",
    "Pants",
    "Romper",
    "Shirt",
    "Shoes",
    "Shorts",
    "Skirt",
    "Slacks",
    "Socks",
    "Suit",
    "Sunglasses",
    "Sweater",
    "Sweatpants",
    "Tank Top",
    "Trousers",
    "Accessories",
];

/// Features with a value, and the values of each.
pub(crate) const FEATURES: [(&str, &[&str]); 11] = [
    ("Buttons", &["Brass", "Horn", "Corozo", "Pressed Tin", "Mother of Pearl"]),
    ("Cut", &["Loose", "Slim", "Straight", "Tapered", "Boxy", "Relaxed & Short"]),
    ("Fabric", &["Canvas", "100% Linen", "97% Cotton 3% Elastane", "Boiled Wool", "Crêpe", "Corduroy"]),
    ("Frame", &["Acetate", "Steel", "Birch", "Recycled Nylon"]),
    ("Frames", &["Thin Wire", "Half Rim", "Tortoise", r#"3"" Wide"#]),
    ("Lens", &["Polarised", "Smoke", "Amber; Graded", "Mirror"]),
    ("Lenses", &["Hard Coat", "Glass", "Gradient"]),
    ("Mid-Sole", &["Cork", "Shank & Board", "Felted Arch"]),
    ("Material", &["Full Grain", "Waxed Twill", "Loden", "Cork & Jute", "Maker's Felt"]),
    ("Sole", &["Crepe", "Rubber", "Leather", "Rope", "Gum  (Double)"]),
    ("Stitching", &["Single", "Double Stitch", "Lockstitch", "Saddle", "None"]),
];

/// Features without a value: certificates and guarantees.
pub(crate) const CERTIFICATES: [&str; 8] = [
    "5 Year Warranty",
    "Fair Trade Certified",
    "Green Leaf Certified",
    "Lifetime Guarantee",
    "Non-GMO",
    "Satisfaction Guaranteed",
    "Sustainably Sourced",
    "UV Protection",
];

/// Colours, for the names of styles.
pub(crate) const COLOURS: [&str; 29] = [
    "Lime",
    "Cyan",
    "Lavender",
    "Olive",
    "Gold",
    "Ivory",
    "Turquoise",
    "Orchid",
    "Azure",
    "Salmon",
    "Violet",
    "Magenta",
    "Silver",
    "Sky Blue",
    "Teal",
    "Fuchsia",
    "Mint Green",
    "Plum",
    "Blue",
    "Yellow",
    "Orange",
    "Purple",
    "Indigo",
    "Black",
    "Grey",
    "White",
    "Maroon",
    "Tan",
    "Red",
];

/// Sizes of garments.
pub(crate) const GARMENT_SIZES: [&str; 6] = ["XS", "S", "M", "L", "XL", "XXL"];

/// Sizes of shoes.
pub(crate) const SHOE_SIZES: [&str; 14] =
    ["6", "6.5", "7", "7.5", "8", "8.5", "9", "9.5", "10", "10.5", "11", "11.5", "12", "12.5"];

/// The size of a product without sizes.
pub(crate) const ONE_SIZE: &str = "One Size";

/// First words of product names.
pub(crate) const MANNERS: [&str; 24] = [
    "Ambling",
    "Baker's",
    "Brisk",
    "Café",
    "Copper",
    "Drizzle",
    "Eastbound",
    "Fjäll",
    "Gardener's",
    "Half-Past",
    "Hollow",
    "Juniper",
    "Lantern",
    "Marigold",
    "Northerly",
    "Oxbow",
    "Paper",
    "Quiet",
    "Rookery",
    "Sailor's",
    "Señor",
    "Tin",
    "Umber",
    "Wicket",
];

/// Second words of product names, before the category.
pub(crate) const THINGS: [&str; 20] = [
    "Arcade", "Bramble", "Canal", "Dovetail", "Estuary", "Ferry", "Gable", "Harbour", "Inkwell", "Jetty",
    "Kiln", "Ladder", "Meadow", "Nook", "Orchard", "Pantry", "Quarry", "Ridge", "Sundial", "Towpath",
];

/// Beginnings of slogans.
pub(crate) const SLOGAN_STARTS: [&str; 12] = [
    "Made for",
    "Never mind",
    "A good word for",
    "It's all about",
    "Somewhere near",
    "The short way to",
    "Room enough for",
    "Older than",
    "Two parts",
    "Don't ask about",
    "Half the price of",
    "Yours &",
];

/// Ends of slogans.
pub(crate) const SLOGAN_ENDS: [&str; 12] = [
    "late trains",
    "rain at noon",
    "long  afternoons",
    "the neighbour's dog",
    "borrowed keys",
    r#"a ""proper"" walk"#,
    "stairs; no lift",
    "cold mornings",
    "everyone's cousin",
    "the last ferry",
    "naïve plans",
    "tea & toast",
];

/// Sentences of descriptions.
pub(crate) const SENTENCES: [&str; 24] = [
    "Cut wide at the shoulder, so that a second layer fits beneath.",
    "We wore ours for a winter and it's none the worse for it.",
    "The seams are taped; the pockets are deep.",
    "Nobody will notice the lining, but you'll know.",
    "Folds into its own pocket  and out again.",
    r#"Our tailor calls it the ""Evening"" cut."#,
    "Warm when it's wet, light when it isn't.",
    "Comes with a spare button & a needle.",
    "Washed twice before it leaves the mill.",
    "Good on a bicycle, better on a bench.",
    "Named after the street where the first one was sewn.",
    "Holds its shape through a week of rain, then asks for more.",
    "It isn't waterproof; it is patient.",
    "Woven on looms that are older than we are.",
    "Made in small runs, so the next one may differ by a shade.",
    "A crème finish that ages well.",
    "Room for a sketchbook, a sandwich & a scarf.",
    "Sturdy enough for a workshop, quiet enough for a library.",
    "Try it on in the afternoon: feet grow by then.",
    "Tested on cobbles, gravel and one very long corridor.",
    "The colour settles after a summer.",
    "Each pair is checked by hand, and then by somebody else's.",
    "No logo, no fuss.",
    "Pull the cord once and the wind stays outside.",
];
