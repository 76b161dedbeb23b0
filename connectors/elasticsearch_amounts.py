"""What payments come to, added up in Elasticsearch: each once, whichever detectors found it."""

from __future__ import annotations

from connectors.elasticsearch_queries import Query
from connectors.store_payments import largest_first
from connectors.store_questions import Document

# No aggregation of its own leaves out what it has seen, and a walk over all payments costs a request for
# each ten thousand. What is answered has a row for each word.
_SEE = """
String name = doc['transaction_id'].value;
def word = doc[params.group].size() == 0 ? null : doc[params.group].value;
state.payments.put(name.length() + ':' + name + doc['user_id'].value, [word, doc['amount'].value]);
"""
# Sums of binary fractions are exact as whole numbers of the least one, 2 ** -1074, in whatever order.
_ADD = """
Map payments = new HashMap();
for (shard in states) {
  if (shard != null) { payments.putAll(shard); }
}
Map rows = new HashMap();
for (payment in payments.values()) {
  double amount = payment[1];
  long bits = Double.doubleToLongBits(amount);
  int exponent = (int) ((bits >>> 52) & 0x7ffL);
  long digits = exponent == 0 ? bits & 0xfffffffffffffL : (bits & 0xfffffffffffffL) | 0x10000000000000L;
  BigInteger exact = BigInteger.valueOf(bits < 0 ? -digits : digits)
    .shiftLeft(exponent == 0 ? 0 : exponent - 1);
  List row = rows.get(payment[0]);
  if (row == null) {
    rows.put(payment[0], [payment[0], 1, exact, amount]);
  } else {
    row[1] += 1;
    row[2] = row[2].add(exact);
    row[3] = Math.max(row[3], amount);
  }
}
List found = new ArrayList();
for (row in rows.values()) {
  found.add([row[0], row[1], row[2].toString(), row[3]]);
}
return found;
"""
_UNIT = 2**1074


def amounts_by(group: str) -> Query:
    """Return the aggregation of payments' anomalies that adds up each payment once, by a field of words.

    Of up to a million payments, as many as a script may go through.
    """
    return {
        "scripted_metric": {
            "params": {"group": group},
            "init_script": "state.payments = new HashMap()",
            "map_script": _SEE,
            "combine_script": "return state.payments",
            "reduce_script": _ADD,
        }
    }


def amounts_in(answer: Query, name: str) -> list[Document]:
    """Return the rows of `Store.amounts` that an answer has under a name, in their order.

    >>> told = [["BR", 1, str(5 * 2**1074), 5.0], [None, 2, str(2**1075), 1.5]]
    >>> amounts_in({"aggregations": {"amounts": {"value": told}}}, "amounts")[1]
    {'group': None, 'transactions': 2, 'amount': 2.0, 'amount_mean': 1.0, 'amount_max': 1.5}
    >>> amounts_in({}, "amounts")
    []
    """
    rows: list[Document] = []
    for word, count, units, largest in answer.get("aggregations", {}).get(name, {}).get("value") or ():
        # A quotient of integers is rounded once.
        total = int(units) / _UNIT
        rows.append(
            {
                "group": word, "transactions": count, "amount": total,
                "amount_mean": total / count, "amount_max": float(largest),
            }
        )  # fmt: skip
    return largest_first(rows)
