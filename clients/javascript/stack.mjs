// What the programs of this folder share: where the test has put everything (its
// variables), and what they do beside getting tokens.
export const {
  PLATFORM, // the identity platform's URL, without a slash at the end
  SERVICE, // the middle tier's
  TODO, // the ToDo API's
  PEOPLE, // that of people who sign in
  TENANT_ID,
} = process.env;

// The middle tier's scopes, for users and for daemons, and the ToDo API's.
export const userScopes = [`${process.env.MIDDLE_TIER_URI}/ToDoList.ReadWrite`];
export const appScopes = [`${process.env.MIDDLE_TIER_URI}/.default`];
export const apiScopes = ['api://todo/.default'];

// list gets the ToDo items from an address and returns their titles, or the status and what
// was answered.
export async function list(address, token) {
  const response = await fetch(address, { headers: { authorization: `Bearer ${token}` } });
  const body = await response.text();
  if (!response.ok) return `${response.status} ${body}`;
  return JSON.parse(body).map((item) => item.title).join(', ');
}

// A user's items, through the middle tier; all of them, for a daemon; and from the API itself.
export const listOwn = (token) => list(`${SERVICE}/api/todo/items`, token);
export const listAll = (token) => list(`${SERVICE}/app/todo/items`, token);
export const listDirectly = (token) => list(`${TODO}/items`, token);

// signIn opens a page of the platform as a user, and returns the URL to which the platform
// sends the browser in the end. With code it is a device's; with deliver the browser goes
// to that URL.
export async function signIn(page, user, { code = '', deliver = '' } = {}) {
  const query = new URLSearchParams({ url: page, user: `${user}@contoso.example`, code, deliver });
  const response = await fetch(`${PEOPLE}/?${query}`);
  if (!response.ok) throw new Error(await response.text());
  return (await response.json()).url;
}

// run runs the flow that the command line names, and prints what it finds out as JSON.
export async function run(flows) {
  const flow = flows[process.argv[2]];
  if (!flow) throw new Error(`the flows are ${Object.keys(flows).join(', ')}`);
  console.log(JSON.stringify(await flow()));
}
