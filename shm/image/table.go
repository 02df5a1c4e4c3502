package image

import "slices"

// A table is one of the format's two hash tables in the making: the cells of a
// section's keys, and the bucket lines of an image's names. Each hash has a
// home, which is one or more cells, and the cells are filled in the order of
// the homes: what its own home has no room for is in the next cells, and those
// past the last one are the first ones. No hash is far from home in such a
// table, as long as chance distributes the homes.
//
// XXH64 can be inverted, so it need not be chance. A table is therefore used
// only if no hash is further than reach cells from home, which is where a search
// ends. If one is, other homes are tried, by another seed.
type table struct {
	homes int
	width int // cells of a home
	reach int // cells that a search looks at, from the first one of its home
	mean  int // how far many hashes may be from home on average, in cells
	home  func(hash uint64) uint64
}

// maxSeeds is how many seeds are tried, from 0 on. An ordinary table of a
// million keys fails with one of them by a chance of less than 1 %.
const maxSeeds = 8

// reseed is the hash by which a table with that seed knows what has this one.
func reseed(hash, seed uint64) uint64 {
	if seed == 0 {
		return hash
	}
	return avalanche(hash + seed*prime1)
}

// arrange finds the first seed that fits, and returns for each home how far
// from its first cell the first of its hashes is. The others follow in the
// cells after it. If none fits, crowded is the number of a hash that has too many
// others near it, or else it is -1. The time is in proportion to the number of
// hashes, whatever they are.
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
	// first round finds what goes on from the last home to the first.
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
