package bundle

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/statesync/statesync/daemon/source"
)

const (
	// maxAhead is how much more than the clock the last time seen is trusted.
	maxAhead = 24 * time.Hour
	// seenStep is how far the last time seen advances until it is stored again.
	seenStep = time.Hour
)

// floor is what was accepted last. A zero one is none.
type floor struct {
	origin   string
	sequence uint64
	archive  source.Digest
	seen     time.Time // the last time seen, in whole seconds
}

// String is how a floor is stored: "ORIGIN SEQUENCE SHA256 TIME".
func (f *floor) String() string {
	return fmt.Sprintf("%s %d %s %s", f.origin, f.sequence, f.archive, f.seen.UTC().Format(timeLayout))
}

// parseFloor reads what String writes.
func parseFloor(text string) (f floor, err error) {
	if text == "" {
		return floor{}, nil
	}
	fields := strings.Split(text, " ")
	if len(fields) != 4 {
		return f, errors.New("it has not four fields")
	}
	f.origin = fields[0]
	if f.sequence, err = strconv.ParseUint(fields[1], 10, 64); err != nil {
		return f, err
	}
	if err := f.archive.UnmarshalText([]byte(fields[2])); err != nil {
		return f, err
	}
	if f.seen, err = time.Parse(timeLayout, fields[3]); err != nil {
		return f, err
	}
	if !isWord(f.origin, MaxOrigin) || f.sequence == 0 || f.String() != text {
		return f, errors.New("it is not spelled as it was stored")
	}
	return f, nil
}

// clock is the later of the clock and the last time seen, as far as that is trusted.
func (f *floor) clock(now time.Time) time.Time {
	now = now.UTC().Truncate(time.Second)
	switch {
	case f.seen.After(now.Add(maxAhead)):
		return now.Add(maxAhead)
	case f.seen.After(now):
		return f.seen
	}
	return now
}

// worth reports whether a floor with a time seen is to be stored in the place of f, whose
// bundle is the same.
func (f *floor) worth(seen time.Time) bool {
	return seen.Before(f.seen) || seen.Sub(f.seen) >= seenStep
}
