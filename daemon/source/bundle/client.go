package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/statesync/statesync/daemon/internal/plain"
	"github.com/statesync/statesync/daemon/internal/web"
	"github.com/statesync/statesync/daemon/source"
)

const (
	// noteTime is how long the request of a note may take. It is less than the time after
	// which a look counts as one that hangs.
	noteTime = 5 * time.Second
	// archiveTime is how long the request of an archive may take, and a second more for so
	// many bytes.
	archiveTime = 10 * time.Second
	slowest     = 128 << 10

	maxRedirects = 3
	maxTag       = 1 << 10 // bytes of an ETag
	maxArchive   = 1 << 30 // bytes, whatever Options say
)

// Client gets bundles from web servers. It may be used by several goroutines.
type Client struct {
	http  *http.Client
	limit time.Duration // noteTime
}

// NewClient returns a client that goes by the proxies and the certificates that the usual
// variables name.
func NewClient() (*Client, error) {
	transport, err := web.Transport(noteTime)
	if err != nil {
		return nil, err
	}
	return &Client{&http.Client{Transport: transport, CheckRedirect: redirect}, noteTime}, nil
}

// redirect refuses to leave the host.
func redirect(q *http.Request, via []*http.Request) error {
	switch {
	case q.URL.Host != via[0].URL.Host || q.URL.Scheme != via[0].URL.Scheme:
		return fmt.Errorf("redirects to another host, %s://%s; write the URL that it leads to", q.URL.Scheme, q.URL.Host)
	case len(via) > maxRedirects:
		return fmt.Errorf("redirects more than %d times", maxRedirects)
	}
	return nil
}

// Close closes the connections that are idle.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// errUnchanged says that a note is still the one of its ETag.
var errUnchanged = errors.New("is unchanged")

// Note gets the note of a URL. With an ETag of an earlier answer the error can be
// errUnchanged. All other errors match source.ErrUnreachable.
func (c *Client) Note(ctx context.Context, url, tag string) (msg []byte, newTag string, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	answer, err := c.get(ctx, url, tag)
	if err != nil {
		return nil, "", c.explain(ctx, err, c.limit)
	}
	defer answer.Body.Close()
	switch {
	case answer.StatusCode == http.StatusNotModified && tag != "":
		return nil, tag, errUnchanged
	case answer.StatusCode != http.StatusOK:
		return nil, "", source.Unreachable(fmt.Errorf("the server answers %s", plain.Quote(answer.Status)))
	}
	msg, err = io.ReadAll(io.LimitReader(answer.Body, MaxNote+1))
	switch {
	case err != nil:
		return nil, "", c.explain(ctx, err, c.limit)
	case len(msg) > MaxNote:
		return nil, "", source.Unreachable(fmt.Errorf("the server sends more than %d bytes, which no note has", MaxNote))
	}
	if newTag = answer.Header.Get("ETag"); len(newTag) > maxTag {
		newTag = ""
	}
	return msg, newTag, nil
}

// Archive gets the archive of a note from the place of the note's URL. Its length and
// digest are those of the note. The errors of a server match source.ErrUnreachable.
func (c *Client) Archive(ctx context.Context, url string, n *Note) ([]byte, error) {
	if n.Size > maxArchive {
		return nil, fmt.Errorf("the archive has %d bytes, and the limit is %d", n.Size, maxArchive)
	}
	limit := archiveTime + time.Duration(n.Size/slowest)*time.Second
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	at, err := beside(url, n.ArchiveName())
	if err != nil {
		return nil, err
	}
	answer, err := c.get(ctx, at, "")
	if err != nil {
		return nil, c.explain(ctx, err, limit)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, source.Unreachable(fmt.Errorf("of the archive %s the server answers %s", n.ArchiveName(), plain.Quote(answer.Status)))
	}
	if answer.ContentLength >= 0 && answer.ContentLength != n.Size {
		return nil, source.Unreachable(fmt.Errorf("the archive %s has %d bytes, and should have %d", n.ArchiveName(), answer.ContentLength, n.Size))
	}
	archive := make([]byte, n.Size)
	got, err := io.ReadFull(answer.Body, archive)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, source.Unreachable(fmt.Errorf("the archive %s ends after %d bytes, and should have %d", n.ArchiveName(), got, n.Size))
	case err != nil:
		return nil, c.explain(ctx, err, limit)
	}
	if more, _ := io.ReadFull(answer.Body, make([]byte, 1)); more > 0 {
		return nil, source.Unreachable(fmt.Errorf("the archive %s has more than %d bytes", n.ArchiveName(), n.Size))
	}
	if err := n.CheckArchive(archive); err != nil {
		return nil, source.Unreachable(err)
	}
	return archive, nil
}

// beside is the URL of a name in the place of another one.
func beside(note, name string) (string, error) {
	u, err := url.Parse(note)
	if err != nil {
		return "", err
	}
	return u.ResolveReference(&url.URL{Path: name}).String(), nil
}

func (c *Client) get(ctx context.Context, url, tag string) (*http.Response, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	q.Header.Set("User-Agent", "statesync")
	if tag != "" {
		q.Header.Set("If-None-Match", tag)
	}
	return c.http.Do(q)
}

// explain makes a plain error of one of a request.
func (*Client) explain(ctx context.Context, err error, limit time.Duration) error {
	var of *url.Error
	if errors.As(err, &of) {
		err = of.Err // the URL is named by the caller
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("the server did not answer in full within %v", limit)
	}
	return source.Unreachable(err)
}

// CheckURL returns what is wrong with the URL of a note, as the end of a sentence.
func CheckURL(text string) error {
	u, err := web.ParseURL(text, "https://example.com/prod/bundle.note")
	switch {
	case err != nil:
		return err
	case u.Scheme != "https" && u.Scheme != "http":
		return errors.New("has a URL that is not of https; write it as in https://example.com/prod/bundle.note")
	case u.Hostname() == "":
		return errors.New("has a URL without a host")
	case u.User != nil:
		return errors.New("has a user or a password in its URL, which is not supported; bundles are signed, and not secret to those that can reach the server")
	case u.Scheme == "http" && !web.Loopback(u):
		return errors.New("has a URL of http, which is for servers of this host only; write https")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return errors.New("has a ? or a # in its URL, which is not supported; options are written after a ? that is not encoded")
	case u.Path == "" || strings.HasSuffix(u.Path, "/"):
		return fmt.Errorf("has a URL that names no file; give that of the note, which is called %s unless it was renamed", NoteName)
	}
	return nil
}
