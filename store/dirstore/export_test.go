package dirstore

// KindOf is kindOf, for the one failure that a test cannot make happen in a real directory.
var KindOf = kindOf
