package contestant

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/statesync/statesync/bench/peers/config"
	"github.com/statesync/statesync/bench/peers/naive"
	"github.com/statesync/statesync/bench/peers/origin"
	"github.com/statesync/statesync/bench/peers/server"
)

// naivePoll is how often a reader of the naive map polls its counter.
const naivePoll = 10 * time.Millisecond

// files are those that hand out the document, and leave the rest to the request.
var files = []*Contestant{
	{
		Name: "origin-raw", Title: "the origin's mapped file, raw", Raw: true, Publish: publishOrigin,
		Note: "bytes, and no setting; maps the file anew every 5 s",
		Open: func(_ context.Context, p Place) (*Reader, error) {
			r, err := origin.Open(originPath(p))
			if err != nil {
				return nil, err
			}
			return &Reader{
				Loop: func(n int) (sum int, err error) {
					for range n {
						sum += int(r.Get()[0])
					}
					return sum, nil
				},
				Close: r.Close,
			}, nil
		},
	},
	{
		Name: "origin", Title: "the origin's mapped file and `json.Unmarshal`", Publish: publishOrigin,
		Note: "maps the file anew every 5 s",
		Open: func(_ context.Context, p Place) (*Reader, error) {
			r, err := origin.Open(originPath(p))
			if err != nil {
				return nil, err
			}
			get := each(func() (int, error) { return elo(r.Get()) })
			return &Reader{Loop: get, Watch: poll(get, time.Millisecond), Close: r.Close}, nil
		},
	},
	{
		Name: "naive-copy", Title: "a naive seqlock, copy", Raw: true, Publish: publishNaive,
		Note: "bytes, and no setting",
		Open: func(_ context.Context, p Place) (*Reader, error) {
			m, err := naive.Open(naivePath(p))
			if err != nil {
				return nil, err
			}
			return &Reader{
				Loop: func(n int) (sum int, err error) {
					var buf []byte
					for range n {
						buf = m.Read(buf)
						sum += int(buf[0])
					}
					return sum, nil
				},
				Close: m.Close,
			}, nil
		},
	},
	{
		Name: "naive", Title: "a naive seqlock, copy and `json.Unmarshal`", Publish: publishNaive,
		Note: "no notification: polled every 10 ms",
		Open: func(_ context.Context, p Place) (*Reader, error) {
			m, err := naive.Open(naivePath(p))
			if err != nil {
				return nil, err
			}
			get := func() (int, error) { return elo(m.Read(nil)) }
			return &Reader{Loop: each(get), Watch: poll(each(get), naivePoll), Close: m.Close}, nil
		},
	},
	{
		Name: "readfile", Title: "`os.ReadFile` and `json.Unmarshal`", Publish: publishJSON,
		Note: "exact",
		Open: func(_ context.Context, p Place) (*Reader, error) {
			path := jsonPath(p)
			return &Reader{
				Loop: each(func() (int, error) {
					content, err := os.ReadFile(path)
					if err != nil {
						return 0, err
					}
					return elo(content)
				}),
				Exact: true, Close: nothing,
			}, nil
		},
	},
}

func elo(document []byte) (int, error) {
	s, err := config.Decode(document)
	return s.Weights.Elo, err
}

// poll makes a Watch of a Loop.
func poll(loop func(int) (int, error), every time.Duration) func(context.Context, func(int)) error {
	return func(ctx context.Context, seen func(int)) error {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for last := -1; ; {
			v, err := loop(1)
			if err != nil {
				return err
			}
			if v != last {
				last = v
				seen(v)
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return nil
			}
		}
	}
}

func originPath(p Place) string { return filepath.Join(p.Shm, "origin") }

func publishOrigin(ctx context.Context, p *Place, _ *server.Fleet) (Source, error) {
	put := func(_ context.Context, version int) error {
		return origin.Publish(originPath(*p), config.Document(p.Size, version))
	}
	return Source{Put: put, Close: nothing}, put(ctx, 1)
}

func naivePath(p Place) string { return filepath.Join(p.Shm, "naive") }

func publishNaive(ctx context.Context, p *Place, _ *server.Fleet) (Source, error) {
	m, err := naive.Create(naivePath(*p), 2*p.Size)
	if err != nil {
		return Source{}, err
	}
	put := func(_ context.Context, version int) error { return m.Write(config.Document(p.Size, version)) }
	if err := put(ctx, 1); err != nil {
		return Source{}, errors.Join(err, m.Close())
	}
	return Source{Put: put, Close: m.Close}, nil
}
