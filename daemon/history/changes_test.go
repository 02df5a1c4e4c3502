package history

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"reflect"
	"runtime"
	"testing"

	"github.com/statesync/statesync/shm/image"
	"github.com/statesync/statesync/shm/shmtest"
)

func someChanges() *changes {
	sum := func(s string) Digest { return sha256.Sum256([]byte(s)) }
	return &changes{
		configs: []Change{
			{"a", Ref{}, Ref{"a", image.Document, sum("1"), false}},
			{"b", Ref{"b", image.Opaque, sum("2"), true}, Ref{"b", image.Document, sum("2"), false}},
			{"c/d", Ref{"c/d", image.Document, sum("3"), false}, Ref{}},
		},
		layers: []layerChange{
			{"base", true, true, []fileChange{
				{"a.yaml", fileRef{}, fileRef{wholeFile, sum("4")}},
				{"b.yaml", fileRef{purgedFile, sum("5")}, fileRef{state: unwantedFile}},
			}},
			{"host", true, false, nil},
			{"region", false, true, nil},
		},
	}
}

func TestChangesRoundTrip(t *testing.T) {
	for _, c := range []*changes{{}, someChanges()} {
		got, err := decodeChanges(c.encode())
		shmtest.Must(t, err)
		if !reflect.DeepEqual(got, c) {
			t.Errorf("it is %+v and should be %+v", got, c)
		}
	}
}

// No prefix of changes and no count that the bytes do not have is accepted.
func TestChangesCutOff(t *testing.T) {
	whole := someChanges().encode()
	for n := range whole {
		if _, err := decodeChanges(whole[:n:n]); err == nil {
			t.Errorf("%d of %d bytes were accepted", n, len(whole))
		}
	}
	shmtest.WantError(t, errOf(decodeChanges(append(whole, 0))), ErrDamaged)
}

func errOf[T any](_ T, err error) error { return err }

// A count of elements allocates nothing that the input does not have.
func TestChangesAllocateWithinInput(t *testing.T) {
	for _, n := range []uint64{1 << 20, 1 << 40, 1 << 62, 1<<64 - 1} {
		input := binary.AppendUvarint(nil, n)
		input = append(input, make([]byte, 1000)...)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := decodeChanges(input)
		runtime.ReadMemStats(&after)
		shmtest.WantError(t, err, ErrDamaged)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
			t.Errorf("a count of %d in %d bytes allocated %d bytes", n, len(input), grown)
		}
	}
}

// What is accepted is exactly what encode writes.
func FuzzChanges(f *testing.F) {
	f.Add((&changes{}).encode())
	f.Add(someChanges().encode())
	f.Fuzz(func(t *testing.T, input []byte) {
		c, err := decodeChanges(input)
		if err == nil && !bytes.Equal(c.encode(), input) {
			t.Errorf("%x was accepted as %+v, which is %x", input, c, c.encode())
		}
	})
}
