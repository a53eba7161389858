package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var sizeForm = regexp.MustCompile(`^([0-9]{1,9})(\.[0-9]{1,3})?([A-Za-z]+)$`)

const sizeHelp = "write a number with B, KB, MB, GB, TB, KiB, MiB, GiB or TiB, such as 64MiB or 10GB"

// ParseSize reads 64MiB, 10GB, 1.5GiB or 0 and gives bytes.
func ParseSize(s string) (int64, error) {
	if s == "0" {
		return 0, nil
	}
	m := sizeForm.FindStringSubmatch(s)
	if m == nil {
		if _, err := strconv.ParseFloat(s, 64); err == nil {
			return 0, fmt.Errorf("%s has no unit; %s", clip(s), sizeHelp)
		}
		return 0, fmt.Errorf("%q is not a size; %s", clip(s), sizeHelp)
	}
	unit, ok := sizeUnit(m[3])
	if !ok {
		for _, u := range []string{"B", "KB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB"} {
			if strings.EqualFold(u, m[3]) || strings.EqualFold(u, m[3]+"B") {
				return 0, fmt.Errorf("%q is not a size; did you mean %s%s%s?", clip(s), m[1], m[2], u)
			}
		}
		return 0, fmt.Errorf("%q is not a size; %s", clip(s), sizeHelp)
	}
	n, err := strconv.ParseFloat(m[1]+m[2], 64)
	if err != nil || n*unit >= 1<<60 {
		return 0, fmt.Errorf("%q is too large a size", clip(s))
	}
	return int64(n * unit), nil
}

func sizeUnit(s string) (float64, bool) {
	switch s {
	case "B":
		return 1, true
	case "KB":
		return 1e3, true
	case "MB":
		return 1e6, true
	case "GB":
		return 1e9, true
	case "TB":
		return 1e12, true
	case "KiB":
		return 1 << 10, true
	case "MiB":
		return 1 << 20, true
	case "GiB":
		return 1 << 30, true
	case "TiB":
		return 1 << 40, true
	}
	return 0, false
}

var moneyForm = regexp.MustCompile(`^([0-9]{1,9}(?:\.[0-9]{1,2})?) ?([A-Z]{3})$`)

// ParseMoney reads 200 USD or 12.50 EUR.
func ParseMoney(s string) (Money, error) {
	m := moneyForm.FindStringSubmatch(s)
	if m == nil {
		return Money{}, fmt.Errorf("%q is not an amount of money; write a number and a currency of three capital letters, such as 200 USD", clip(s))
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil || n == 0 {
		return Money{}, fmt.Errorf("%q cannot be 0; leave it out for no limit", clip(s))
	}
	return Money{n, m[2]}, nil
}

// clip keeps what a message repeats short.
func clip(s string) string {
	const most = 60
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
