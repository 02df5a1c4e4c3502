package match

import "github.com/statesync/statesync/bench/peers/config"

// content is a version of the config as JSON: about a KiB with 30 keys.
func content(version int) []byte { return config.Document(config.Sizes[0], version) }

// waiting is how many players a request is matched against.
const waiting = 64

// match is the work of a request: it finds the best of the waiting players for
// a ticket. It takes about a microsecond, so that what is measured is the
// config's way into the request.
func match(s *config.Settings, ticket uint64) (player int) {
	best := -1.0
	for i := range waiting {
		h := (ticket + uint64(i)) * 0x9e3779b97f4a7c15
		elo, ping, party := float64(h>>48%800), float64(h>>32%200), float64(h%5)
		score := float64(s.Weights.Elo)*(800-elo) + s.Weights.Ping*(200-ping) + s.Weights.Party*party
		if score > best {
			best, player = score, i
		}
	}
	return player
}
