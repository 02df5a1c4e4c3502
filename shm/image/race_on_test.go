//go:build race

package image

// flooded is how many keys or names an attacker chooses. Under the race
// detector it takes long to find and to try more.
const flooded = 10_000
