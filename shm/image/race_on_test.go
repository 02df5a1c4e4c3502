//go:build race

package image

// flooded is how many keys or names an attacker chooses.
const flooded = 10_000
