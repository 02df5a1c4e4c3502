package image

import "slices"

// A table describes one of the format's two hash tables: the cells of a section's
// keys, or the bucket lines of an image's names. Each hash has a home of one or
// more cells. The cells are filled in the order of the homes: a hash that finds
// its home full goes into the next cells, and the first cell follows the last. If
// the homes are random, every hash is near its home.
//
// XXH64 can be inverted, so an attacker can choose the homes. A table is used
// only if every hash is within reach cells of its home, where a search ends, and
// near it on average. Otherwise another seed gives the hashes other homes.
type table struct {
	homes int
	width int // cells of a home
	reach int // cells that a search reads at most, from the first of its home
	mean  int // how far hashes may be from home on average if there are many, in cells
	home  func(hash uint64) uint64
}

// maxSeeds is how many seeds are tried, from 0. One seed fails for less than 1 %
// of the tables of a million keys with random hashes.
const maxSeeds = 8

// reseed returns the hash that a table with this seed uses in the place of hash.
func reseed(hash, seed uint64) uint64 {
	if seed == 0 {
		return hash
	}
	return avalanche(hash + seed*prime1)
}

// arrange finds the first seed that fits. For each home, next is the distance
// from its first cell to the cell of its first hash; its other hashes follow. If
// no seed fits, crowded is the number of a hash with too many others near it; it
// is -1 otherwise. The time is linear in the number of hashes, whatever they are.
func (t table) arrange(hashes []uint64) (seed uint64, next []uint8, crowded int) {
	next = make([]uint8, t.homes)
	for seed < maxSeeds {
		if crowded = t.try(next, hashes, seed); crowded < 0 {
			break
		}
		clear(next)
		seed++
	}
	return seed, next, crowded
}

// try is arrange with one seed. All of next is zero.
func (t table) try(next []uint8, hashes []uint64, seed uint64) (crowded int) {
	for n, hash := range hashes {
		i := t.home(reseed(hash, seed))
		if next[i]++; int(next[i]) > t.reach {
			return n
		}
	}
	// over is how many hashes of the homes so far are in cells behind them. The
	// first round finds how many the last home leaves to the first.
	over, far, farthest, distances := 0, 0, 0, 0
	for round := range 2 {
		for i, n := range next {
			n := int(n)
			if over+n > far {
				far, farthest = over+n, i
			}
			if round == 1 {
				next[i] = uint8(over)
				distances += n*over + n*(n-1)/2
			}
			if over = max(0, over+n-t.width); over > t.reach {
				break
			}
		}
	}
	if far > t.reach || distances > t.mean*len(hashes)+t.reach {
		return slices.IndexFunc(hashes, func(hash uint64) bool { return t.home(reseed(hash, seed)) == uint64(farthest) })
	}
	return -1
}
