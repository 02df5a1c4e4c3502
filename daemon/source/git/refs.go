//go:build unix

package git

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/statesync/statesync/daemon/internal/plain"
)

// maxTags is how many refs a remote may list of which one is followed.
const maxTags = 50_000

// ref is a ref as a remote lists it.
type ref struct {
	name string // "refs/heads/main"
	tip  oid
}

// is reports whether a revision is what the ref names. No ref names none.
func (r ref) is(got revision) bool { return r.name != "" && r == ref{got.ref, got.tip} }

// choice is the ref that is followed, of those that a remote lists. Of a pattern it is the
// tag that has the highest version in the place of the *.
type choice struct {
	remote *remote
	best   ref
	twice  bool
}

// isVersion says which texts a pattern's * stands for. Release candidates are not among
// them.
var isVersion = regexp.MustCompile(`^[0-9]+([.-][0-9]+)*$`).MatchString

// add takes a ref into account. Names that a remote must not have are ignored.
func (c *choice) add(name string, tip oid) {
	switch {
	case !c.remote.newest:
		if name == c.remote.ref {
			c.twice = c.best.name != ""
			c.best = ref{name, tip}
		}
	case isRef(name) && isVersion(c.version(name)) && c.above(name):
		c.best = ref{name, tip}
	}
}

// version is what a name has in the place of the pattern's *; "" if it does not match.
func (c *choice) version(name string) string {
	before, after, _ := strings.Cut(c.remote.ref, "*")
	if len(name) < len(before)+len(after) || !strings.HasPrefix(name, before) || !strings.HasSuffix(name, after) {
		return ""
	}
	return name[len(before) : len(name)-len(after)]
}

// above reports whether a name has a higher version than the best so far.
func (c *choice) above(name string) bool {
	order := slices.CompareFunc(numbers(c.version(name)), numbers(c.version(c.best.name)), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
	})
	return cmp.Or(order, strings.Compare(name, c.best.name)) > 0 // 1.02 and 1.2 are in some order, too
}

// numbers are those of a version, without leading zeros.
func numbers(version string) []string {
	list := strings.FieldsFunc(version, func(c rune) bool { return c == '.' || c == '-' })
	for i, n := range list {
		list[i] = strings.TrimLeft(n, "0")
	}
	return list
}

// newestTag asks the remote which of the tags of a pattern is followed.
func (r *repository) newestTag(ctx context.Context) (ref, error) {
	c := choice{remote: r.remote}
	err := r.git.run(ctx, call{
		args:  []string{"ls-remote", "--quiet", "--tags", "--refs", "--end-of-options", r.remote.url.String(), r.remote.ref},
		limit: fetchTime,
		output: func(in io.Reader) error {
			lines := bufio.NewScanner(in)
			for n := 1; lines.Scan(); n++ {
				if n > maxTags {
					return fmt.Errorf("the repository has more than %d tags %s; narrow the pattern of verify=", maxTags, plain.Quote(r.remote.pattern()))
				}
				tip, name, _ := strings.Cut(lines.Text(), "\t")
				if !IsObject(tip) {
					return fmt.Errorf("git ls-remote: it says %s", plain.Quote(lines.Text()))
				}
				c.add(name, oid(tip))
			}
			return lines.Err()
		},
	})
	if err == nil && c.best.name == "" {
		err = fmt.Errorf("the repository has no tag %s with a version, such as 7 or 1.4.2, in the place of the *; push one, or correct verify=",
			plain.Quote(r.remote.pattern()))
	}
	return c.best, err
}
