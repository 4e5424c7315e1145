import { useEffect, useState } from 'react';
import { search, server, version } from './api.js';

function Product({ product }) {
  return (
    <li>
      <img src={server + product.image} alt="" width="160" height="120" loading="lazy" />
      <h2>{product.name}</h2>
      <p>
        {product.price.toLocaleString('fr')} FCFA {product.in_stock ? '' : '(rupture de stock)'}
      </p>
    </li>
  );
}

export function App() {
  const [words, setWords] = useState('');
  const [products, setProducts] = useState([]);
  const [failed, setFailed] = useState(false);

  useEffect(() => {
    let current = true;
    search(words).then(
      (found) => current && (setProducts(found), setFailed(false)),
      () => current && setFailed(true),
    );
    return () => {
      current = false;
    };
  }, [words]);

  return (
    <main>
      <h1>NIASOTAC</h1>
      <input type="search" aria-label="Rechercher" value={words} onChange={(event) => setWords(event.target.value)} />
      {failed && <p role="alert">Le catalogue ne répond pas.</p>}
      <ul>
        {products.map((product) => (
          <Product key={product.slug} product={product} />
        ))}
      </ul>
      <small>{version}</small>
    </main>
  );
}
