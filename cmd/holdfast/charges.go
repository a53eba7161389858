package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/location"
	"github.com/holdfast-backup/holdfast/replicator/prices"
)

// charges knows what places cost.
type charges struct{ tables *prices.Tables }

// openCharges reads the price tables: those of the configuration's file before those that ship. c may be nil.
func openCharges(a *app, c *config.Config) (charges, error) {
	tables, err := prices.Shipped()
	if err != nil || c == nil || c.Prices == "" {
		return charges{tables}, err
	}
	fail := func(err error) (charges, error) {
		return charges{}, &marked{errPrices, fmt.Errorf("prices %s: %w", c.Prices, err)}
	}
	if err := a.trusts.me().File(c.Prices); err != nil {
		return fail(err)
	}
	f, err := os.Open(c.Prices)
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	if tables, err = tables.Over(f); err != nil {
		return fail(err)
	}
	return charges{tables}, nil
}

// errOwn: a directory costs what its owner knows. It has a price where a table of the user's names prices.Directory.
var errOwn = errors.New("a directory has no price")

// of gives what a place charges.
func (c charges) of(at location.Location) (prices.Price, error) {
	switch {
	case at.AWS != nil:
		return c.at(at.AWS.Endpoint, at.AWS.Region)
	case at.Kind == location.S3:
		return c.at(at.S3.Endpoint, at.S3.Region)
	}
	p, err := c.tables.For(prices.Directory, "")
	if errors.Is(err, prices.ErrNone) {
		err = errOwn
	}
	return p, err
}

func (c charges) at(endpoint, region string) (prices.Price, error) {
	host := prices.AWS
	if endpoint != "" {
		u, err := url.Parse(endpoint)
		if err != nil {
			return prices.Price{}, err
		}
		host = u.Hostname()
	}
	return c.tables.For(host, region)
}
