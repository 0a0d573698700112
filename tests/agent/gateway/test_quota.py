import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.gateway import quota
from agent.gateway.errors import Refused
from agent.gateway.quota import Account, Accounts, Allowance, Quotas

GAPS = st.lists(st.floats(0, 30), max_size=60)


@given(GAPS, st.integers(1, 8))
def test_no_minute_holds_more_than_there_may_be_and_none_is_refused_that_would_fit(gaps, most):
    allowance, taken, now = Allowance(most), [], 1000.0
    for gap in gaps:
        now += gap
        lately = [at for at in taken if at > now - 59.99]
        wait = allowance.take(now)
        if not wait:
            taken.append(now)
            assert len(lately) < most
        else:
            assert len([at for at in taken if at >= now - 60.01]) >= most
            assert 0 < wait <= 60.01


@given(GAPS, st.integers(1, 5))
def test_whoever_comes_again_when_he_was_told_to_gets_in(gaps, most):
    allowance, now = Allowance(most), 1000.0
    for gap in gaps:
        now += gap / 10
        if wait := allowance.take(now):
            now += wait + 0.002
            assert allowance.take(now) == 0.0


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 20)), max_size=60))
def test_sound_that_was_made_counts_even_beyond_the_limit(steps):
    account, now, made, refused_at = Account(Quotas(0, 0, 30)), 1000.0, [], None
    for seconds, gap in steps:
        now += gap
        try:
            account.check_audio(now)
            if refused_at is not None:
                assert now > refused_at
        except Refused as refused:
            assert refused.status == 429 and refused.retry_after
            assert sum(amount for _, amount in made) > 29
            refused_at = now
            continue
        account.on_audio(seconds, now)
        made.append((now, seconds))
        within = sum(amount for at, amount in made if at > now - 59.99)
        assert within <= 30 + max(amount for _, amount in made) + 1, "one more piece at the most than a minute may hold"


def test_requests_at_once_are_counted_until_they_end():
    account = Account(Quotas(0, 2, 0))
    account.begin()
    account.begin()
    with pytest.raises(Refused, match="concurrent_per_caller") as refused:
        account.begin()
    assert refused.value.status == 429 and refused.value.headers["Retry-After"] == "1"
    account.end()
    account.begin()


def test_zero_is_no_limit():
    account = Account(Quotas(0, 0, 0))
    for _ in range(1000):
        account.on_request(1.0)
        account.begin()
        account.on_audio(100.0, 1.0)
        account.check_audio(1.0)


def test_callers_have_accounts_of_their_own_and_few_are_remembered(monkeypatch):
    monkeypatch.setattr(quota, "ACCOUNTS", 3)
    accounts = Accounts(Quotas(1, 0, 0))
    accounts.of("a").on_request(1.0)
    accounts.of("b").on_request(1.0)
    with pytest.raises(Refused):
        accounts.of("a").on_request(1.0)
    accounts.of("a").begin()
    for name in "cdefg":
        accounts.of(name)
    assert len(accounts) == 3 and accounts.of("a").running == 1, "whoever is being answered is not forgotten"
    for name in "cde":
        accounts.of(name).begin() if len(accounts) < 3 else None
    for account in accounts._accounts.values():
        account.running += 1
    with pytest.raises(Refused) as refused:
        accounts.of("new")
    assert refused.value.status == 503 and refused.value.retry_after
