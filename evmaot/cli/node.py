"""How verbs ask a node: settings and options to accounts.

Job: one client per command, closed when its answers are read.  May import: `evmaot.inputs`, `evmaot.config`, errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from evmaot.config import Settings
from evmaot.errors import UsageError

if TYPE_CHECKING:
    from evmaot.inputs.live.accounts import Account
    from evmaot.inputs.source import Item, Problem


def node_accounts(
    settings: Settings, addresses: Sequence[str], block: str, *, follow_proxies: bool
) -> tuple[str, Iterator[Account | Problem]]:
    """The node as it may be shown, and its accounts.

    UsageError for options that can't be right: ``no_node``, ``no_address``, ``bad_rpc_url``, ``unsupported_proxy``,
    ``bad_block``, ``bad_address``, ``bad_checksum``.
    """
    from evmaot.inputs.live.accounts import fetch_accounts
    from evmaot.inputs.live.addresses import read_addresses
    from evmaot.inputs.live.client import RpcClient, RpcOptions
    from evmaot.inputs.live.contracts import check_block
    from evmaot.inputs.live.endpoint import parse_endpoint

    if not settings.rpc_url:
        raise UsageError("no_node", "addresses need a node to ask", hint="--rpc URL, or EVMAOT_RPC_URL")
    if not addresses:
        raise UsageError("no_address", "there is no address to ask for", hint="--address 0x..., or --address @LIST")
    endpoint = parse_endpoint(settings.rpc_url)
    wanted = read_addresses(addresses)
    check_block(block)
    options = RpcOptions(
        timeout_seconds=settings.rpc_timeout_seconds,
        retries=settings.rpc_retries,
        batch_size=settings.rpc_batch,
        calls_per_second=float(settings.rpc_rate),
    )

    def read() -> Iterator[Account | Problem]:
        with RpcClient(endpoint, options) as client:
            yield from fetch_accounts(client, wanted, block=block, follow_proxies=follow_proxies)

    return endpoint.shown, read()


def node_contracts(settings: Settings, addresses: Sequence[str], block: str, *, follow_proxies: bool) -> Iterator[Item]:
    """The contracts of accounts; raises as `node_accounts`."""
    from evmaot.inputs.live.contracts import contracts_of

    shown, accounts = node_accounts(settings, addresses, block, follow_proxies=follow_proxies)
    return contracts_of(accounts, shown)
