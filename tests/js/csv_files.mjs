/** CSV texts, read as files are. */

import { eventOf, isHeader, planColumns } from "../../static/js/columns.js";
import { recordsOf } from "../../static/js/csv.js";

async function* pieces(text, size) {
  for (let at = 0; at < text.length; at += size) yield text.slice(at, at + size);
}

export async function records(text, size = text.length || 1) {
  const found = [];
  for await (const some of recordsOf(pieces(text, size))) found.push(...some);
  return found;
}

export async function columnsFound(text, inputs, chosen) {
  const [first] = await records(text);
  return planColumns(first.fields, isHeader(first.fields), inputs, first.row, chosen);
}

export async function eventsOf(text, inputs, chosen) {
  const [first, ...rest] = await records(text);
  const plan = await columnsFound(text, inputs, chosen);
  return (isHeader(first.fields) ? rest : [first, ...rest]).map((record) => eventOf(record, plan, inputs));
}

export async function problem(attempt) {
  try {
    await attempt();
  } catch (error) {
    return error.message;
  }
  return "none";
}
