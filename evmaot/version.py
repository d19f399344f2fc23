"""The version of evmaot, as one constant that costs nothing to read.

Job: what `evmaot --version` prints and what documents and manifests name as their writer; the
package's metadata is derived from it.  May import: nothing of evmaot.
"""

from __future__ import annotations

VERSION = "0.1.0"
