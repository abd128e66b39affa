// Go back once every application was told, or did not answer in time.
const link = document.getElementById("return");
const told = [...document.querySelectorAll("iframe")].map(
  (frame) => new Promise((resolve) => frame.addEventListener("load", resolve)));
const late = new Promise((resolve) => setTimeout(resolve, 3000));
if (link) Promise.race([Promise.all(told), late]).then(() => location.replace(link.href));
