//go:build !race

package contestant

const raceEnabled = false
