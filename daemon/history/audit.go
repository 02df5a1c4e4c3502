package history

import (
	"encoding/json"
	"fmt"

	"github.com/statesync/statesync/shm/failpoint"
)

// auditEntries is how many entries are kept.
const auditEntries = 10_000

// enter gives an entry the next number and stores it as begun. The oldest entries beyond
// the bound go.
func (t *tx) enter(e *Entry) error {
	t.totals.entry++
	e.Number = t.totals.entry
	if e.Time.IsZero() {
		e.Time = now()
	}
	if err := t.putEntry(*e); err != nil {
		return err
	}
	if e.Number <= auditEntries {
		return nil
	}
	_, err := t.audit.remove(numberKey(e.Number - auditEntries))
	return err
}

// putEntry stores an entry.
func (t *tx) putEntry(e Entry) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = t.audit.put(numberKey(e.Number), text)
	return err
}

// entry returns an entry by its number.
func (t *tx) entry(number uint64) (Entry, error) {
	text, err := t.audit.get(numberKey(number))
	if err != nil {
		return Entry{}, err
	}
	if text == nil {
		return Entry{}, fmt.Errorf("entry %d of the audit is %w", number, ErrNotKept)
	}
	return decodeEntry(number, text)
}

func decodeEntry(number uint64, text []byte) (e Entry, err error) {
	if err := json.Unmarshal(text, &e); err != nil {
		return Entry{}, fmt.Errorf("%w: entry %d of the audit: %w", ErrDamaged, number, err)
	}
	e.Number = number
	return e, nil
}

// Done enters what an act came to and the generation that it led to. It is on stable
// storage when Done returns.
func (s *Store) Done(number uint64, outcome string, generation uint64) error {
	s.write.Lock()
	defer s.write.Unlock()
	err := s.update(func(t *tx) error {
		e, err := t.entry(number)
		if err != nil {
			return err
		}
		e.Done, e.Outcome, e.Generation = now(), outcome, generation
		if err := t.putEntry(e); err != nil {
			return err
		}
		failpoint.Here("history.outcome-begin")
		return nil
	})
	if err == nil {
		failpoint.Here("history.outcome-done")
	}
	return err
}

// Pending returns the entries that were begun and are not done, the oldest first. It reads
// the whole audit.
func (s *Store) Pending() (list []Entry, err error) {
	err = s.view(func(t *tx) error {
		return t.audit.each(func(key, text []byte) error {
			number, err := t.audit.keyNumber(key)
			if err != nil {
				return err
			}
			e, err := decodeEntry(number, text)
			if e.Done.IsZero() {
				list = append(list, e)
			}
			return err
		})
	})
	return list, err
}

// Audit returns at most limit entries below a number, the newest first. 0 is above all
// numbers; the default and the bound of limit are those of Query.Limit. The last 10,000
// entries are kept.
func (s *Store) Audit(before uint64, limit int) (list []Entry, err error) {
	limit = bound(limit)
	err = s.view(func(t *tx) error {
		return t.audit.down(before, func(number uint64, text []byte) (bool, error) {
			e, err := decodeEntry(number, text)
			list = append(list, e)
			return len(list) < limit, err
		})
	})
	return list, err
}
