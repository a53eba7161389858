package s3url

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Elsewhere explains an answer that sends a request on to another place (3xx), by its headers, and says what to change in the
// URL. Nothing follows such an answer: credentials go only where the configuration says.
func Elsewhere(h http.Header) string {
	if region := plain(h.Get("X-Amz-Bucket-Region")); region != "" {
		return fmt.Sprintf("the bucket is in region %s; set region=%s in its url", region, url.QueryEscape(region))
	}
	location := h.Get("Location")
	if location == "" {
		return "the server sends requests for this bucket elsewhere and does not say where: the bucket may be in another region; check endpoint and region in its url"
	}
	to, err := url.Parse(location)
	if err == nil {
		to.User, to.RawQuery, to.Fragment = nil, "", "" // where signatures and passwords would stand
		location = to.String()
	}
	if err != nil || to.Host == "" {
		return fmt.Sprintf("the server sends requests on to %s, which is not followed; check the endpoint in the url", plain(location))
	}
	return fmt.Sprintf("the server sends requests on to %s, which is not followed: credentials go only where the configuration says; if that is the right place, set endpoint=%s://%s in the url",
		plain(location), plain(to.Scheme), plain(to.Host))
}

// plain cuts what a server sent to what may stand in an error.
func plain(s string) string {
	if len(s) > 200 {
		s = s[:200] + ".."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
}
