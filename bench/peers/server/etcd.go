package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/embed"

	"github.com/statesync/statesync/bench/peers/process"
)

// StartEtcd starts an etcd of one member with its data in dir, on a disk that
// it syncs as it does in production. Address is its client's host:port.
func StartEtcd(ctx context.Context, dir string) (*process.Process, error) {
	return process.Start(ctx, etcdPart, dir)
}

var etcdPart = process.Register("etcd", func(ctx context.Context, args []string, _ *bufio.Reader, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("wants a folder")
	}
	anyPort := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	c := embed.NewConfig()
	c.Dir = filepath.Join(args[0], "etcd")
	c.LogLevel = "fatal"
	c.ListenClientUrls, c.ListenPeerUrls = anyPort, anyPort
	c.AdvertiseClientUrls, c.AdvertisePeerUrls = anyPort, anyPort
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	e, err := embed.StartEtcd(c)
	if err != nil {
		return err
	}
	defer e.Close()
	select {
	case <-e.Server.ReadyNotify():
	case err := <-e.Err():
		return err
	case <-time.After(30 * time.Second):
		return errors.New("etcd is not ready after 30 s")
	}
	if len(e.Clients) != 1 {
		return fmt.Errorf("etcd listens for clients at %d places, not at one", len(e.Clients))
	}
	if err := process.Ready(out, e.Clients[0].Addr().String()); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-e.Err():
		return err
	}
})
